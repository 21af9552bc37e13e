"""The sentence of a finding, where the code alone does not make it."""

from __future__ import annotations

from functools import partial

import pytest

from conformance.checks.children import EXITING
from conformance.checks.codes import Code
from conformance.findings.wording import sentence
from conformance.protocols.clauses import Role

KEPT = "an import that lives until the interpreter ends"


@pytest.mark.parametrize(
    ("code", "given", "step", "told"),
    [
        (Code.CRASH, "a NULL deleter", "release", "odd crashes when an import with a NULL deleter is released."),
        (Code.CRASH, "", "release", "odd crashes when an import is released."),
        (Code.CRASH, KEPT, "release", f"odd crashes when {KEPT} is released."),
        (Code.HANG, KEPT, "release", f"odd hangs when {KEPT} is released."),
        (Code.HANG, "", "import", "odd hangs while it imports a plain array."),
        (Code.PROGRAM_CRASH, EXITING, "", "odd makes the exit of the interpreter fail."),
        (Code.PROGRAM_HANG, EXITING, "", "odd keeps the interpreter from exiting."),
        (Code.PROGRAM_CRASH, "the import of odd", "", "odd crashes a new interpreter during the import of odd."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_lost_process_names_its_step(code: Code, given: str, step: str, told: str) -> None:
    """A release is no import, and an exit is neither."""
    assert sentence("odd", Role.CONSUMER, code, given, "", step) == told


def test_what_is_special_stands_behind_a_sentence_that_says_the_rest() -> None:
    """Of a plain array nothing stands there."""
    said = partial(sentence, "numpy", Role.PRODUCER, Code.READONLY_LOST, protocol="dlpack", step="")
    assert said(given="") == "NumPy exports a read-only array as writable, by DLPack."
    assert said(given="a strided view") == "NumPy exports a read-only array as writable: a strided view, by DLPack."
