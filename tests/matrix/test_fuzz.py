"""Whatever stands in the file, the answer is a matrix or a sentence."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.exits import UserError
from conformance.matrix.reading import read

from .conftest import SMALL

LINES = SMALL.splitlines()
WORDS = sorted({*re.findall(r"[\w.-]+", SMALL), "none", "any", "{}", "[]", "[none]", ">=2", "", "0", "{lib: any}", "~"})


@st.composite
def broken(draw: st.DrawFn) -> str:
    """The small matrix with some words changed, and some lines lost, doubled, moved or indented anew."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = chance.randrange(len(lines))
        kind = draw(st.sampled_from(["word", "word", "word", "drop", "double", "move", "indent"]))
        if kind == "word":
            words = re.split(r"([\w.-]+)", lines[at])
            words[chance.randrange(len(words))] = chance.choice(WORDS)
            lines[at] = "".join(words)
        elif kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "move":
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        else:
            lines[at] = " " * chance.choice([0, 2, 4, 6]) + lines[at].strip()
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(broken())
def test_a_broken_file_gives_a_sentence_and_no_traceback(text: str) -> None:
    """With the file and a line in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "matrix.yaml")
        path.write_text(text, encoding="utf-8")
        told = "matrix.yaml:1: no mistake"
        try:
            read(path)
        except UserError as error:
            told = str(error)
        assert re.search(r"matrix\.yaml:\d+: \S", told), told
