"""Change the judging code in every small way that mutmut knows, and tell which changes no test notices.

    python tests/mutation/survivors.py [MODULE ...]

``nox -s mutation`` runs it. It fails unless every change is noticed by a test, touches nothing but a sentence for people, or stands
in ``equivalent.txt`` beside this file with the reason why it changes nothing; and unless all that stands there does survive.
Which code is judging code, and which tests judge it, says ``[tool.mutmut]`` in pyproject.toml.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

EQUIVALENT = Path(__file__).with_name("equivalent.txt")
WORK = Path("mutants")
"""Where mutmut keeps its copy of the project."""
PARTS = {"conformance.cli": ("exit_code",)}
"""Of these modules only these functions judge anything."""
NOTICED = frozenset({"killed", "timeout", "segfault"})
"""A change that makes a test fail, hang or crash is noticed."""
_STRING = re.compile(r'f"[^"]*"|"[^"]*"')


class Mistake(Exception):
    """The user's: one sentence."""


@dataclass(frozen=True)
class Change:
    """A small change of one function: the lines that it takes away and those that it puts in their place, without indentation."""

    module: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        lines = (*(f"- {line}" for line in self.removed), *(f"+ {line}" for line in self.added))
        return "\n".join((f"{self.module} {self.function}", *lines))

    @property
    def only_words(self) -> bool:
        """Whether it changes nothing but a sentence: a plain string with a blank in it. What an f-string computes is code."""
        return [_wordless(line) for line in self.removed] == [_wordless(line) for line in self.added]


def _wordless(line: str) -> str:
    return _STRING.sub(lambda found: '"…"' if found[0][0] != "f" and " " in found[0] else found[0], line)


@dataclass
class Tally:
    """What became of one module's mutants."""

    mutants: int = 0
    noticed: int = 0
    words: int = 0
    explained: int = 0
    survivors: list[tuple[str, Change]] = field(default_factory=list)
    """Mutmut's name of each, and what it changes."""


# -- what is explained


def read_explanations(text: str) -> dict[Change, str]:
    """The reasons by change. Raises :class:`Mistake` with every block that cannot be read.

    Blocks are separated by empty lines: module and function, the lines as in a diff, and ``why:`` with the reason.
    """
    found: dict[Change, str] = {}
    wrong = []
    for number, block in _blocks(text):
        change, reason = _read_block(block)
        if change is None or not reason:
            wrong.append(f"line {number}: a block is module and function, lines with - and +, and why: with the reason")
        elif change in found:
            wrong.append(f"line {number}: this change is explained twice")
        else:
            found[change] = reason
    if wrong:
        raise Mistake(f"{EQUIVALENT.name}: " + "; ".join(wrong))
    return found


def _blocks(text: str) -> Iterable[tuple[int, list[str]]]:
    """Each block's lines with the number of the first; what starts with # is no part of any."""
    block: list[str] = []
    for number, line in enumerate((*text.splitlines(), ""), 1):
        if line.strip() and not line.startswith("#"):
            block.append(line)
        elif block and not line.strip():
            yield number - len(block), block
            block = []


def _read_block(block: list[str]) -> tuple[Change | None, str]:
    module, _, function = block[0].partition(" ")
    told = {sign: tuple(line[1:].strip() for line in block[1:] if line[0] == sign) for sign in "-+"}
    reason = " ".join(line.removeprefix("why:").strip() for line in block[1:] if line[0] not in "-+")
    if not (function and told["-"] and block[-1][0] not in "-+"):
        return None, reason
    return Change(module, function.strip(), told["-"], told["+"]), reason


# -- what mutmut found


def function_of(name: str) -> tuple[str, str]:
    """Module and function of a mutant by mutmut's name for it, such as ``a.b.x_f__mutmut_1`` or ``a.b.xǁCǁf__mutmut_1``."""
    module, _, mangled = name.partition("__mutmut_")[0].rpartition(".")
    return module, mangled[2:].replace("ǁ", ".") if mangled[1] == "ǁ" else mangled[2:]


def change_of(name: str, diff: str) -> Change:
    """A mutant as the change that its diff shows."""
    _, _, body = diff.partition("\n@@")
    lines = body.splitlines()[1:]
    signed = {sign: tuple(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"}
    return Change(*function_of(name), signed["-"], signed["+"])


def judged(name: str) -> bool:
    """Whether the mutant is one of the judging code."""
    module, function = function_of(name)
    return function in PARTS.get(module, (function,))


def _statuses(chosen: Sequence[str]) -> dict[str, str]:
    """How each mutant of these modules ended, by its name."""
    done = subprocess.run(["mutmut", "results", "--all", "true"], capture_output=True, text=True, check=True)
    found = dict(line.strip().split(": ") for line in done.stdout.splitlines())
    wanted = (name for name in found if function_of(name)[0] in chosen and judged(name))
    return {name: found[name] for name in sorted(wanted, key=lambda name: chosen.index(function_of(name)[0]))}


def _change(name: str) -> Change:
    return change_of(name, subprocess.run(["mutmut", "show", name], capture_output=True, text=True, check=True).stdout)


def modules() -> list[str]:
    """The judging code."""
    from mutmut.configuration import config

    paths = [path for pattern in config().only_mutate for path in sorted(Path().glob(pattern))]
    return [".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"]


def chosen_of(known: Sequence[str], words: Sequence[str]) -> list[str]:
    """The modules that these words name, all if there are none: whole names, paths or the last part of a name."""
    asked = [word.removesuffix(".py").replace("/", ".") for word in words]
    unknown = [word for word in asked if not any(_names(word, module) for module in known)]
    if unknown:
        raise Mistake(f"{unknown[0]} is no module of the judging code; there are {', '.join(known)}")
    return [module for module in known if not asked or any(_names(word, module) for word in asked)]


def _names(word: str, module: str) -> bool:
    return f".{module}".endswith(f".{word}")


# -- telling


def tally(statuses: dict[str, str], changes: dict[str, Change], explained: Iterable[Change]) -> dict[str, Tally]:
    """What became of the mutants of each module; ``changes`` has those that no test noticed."""
    known = frozenset(explained)
    tallies: dict[str, Tally] = {}
    for name, status in statuses.items():
        one = tallies.setdefault(function_of(name)[0], Tally())
        one.mutants += 1
        if status in NOTICED:
            one.noticed += 1
        elif changes[name].only_words:
            one.words += 1
        elif changes[name] in known:
            one.explained += 1
        else:
            one.survivors.append((f"{name}: {status}", changes[name]))
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """For the documentation."""
    rows = [
        "| module | mutants | killed | words only | explained | survive |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| `{module}` | {t.mutants} | {t.noticed} | {t.words} | {t.explained} | {len(t.survivors)} |"
            for module, t in tallies.items()
        ),
    ]
    return "\n".join(rows)


def main(words: Sequence[str]) -> int:
    """Exit code: 1 if something survives without an explanation, or is explained and does not survive."""
    explained = read_explanations(EQUIVALENT.read_text(encoding="utf-8"))
    chosen = chosen_of(modules(), words)
    shutil.rmtree(WORK, ignore_errors=True)  # what is left of an earlier run knows nothing of a test that has changed
    processes = ["--max-children", str(len(os.sched_getaffinity(0)))]
    patterns = [f"{module}.{mangled}" for module in chosen for mangled in _mangled(module)] if words else []
    subprocess.run(["mutmut", "run", *processes, *patterns], check=True)
    statuses = _statuses(chosen)
    changes = {name: _change(name) for name, status in statuses.items() if status not in NOTICED}
    tallies = tally(statuses, changes, explained)
    survivors = [survivor for one in tallies.values() for survivor in one.survivors]
    gone = [c for c in explained if c.module in chosen and c not in changes.values()]
    print(f"\n{date.today()}\n\n{table(tallies)}\n")
    for name in (name for name, status in statuses.items() if status == "timeout"):
        print(f"{name}: the tests did not end")
    for name, change in survivors:
        print(f"{name}\n{change}\n")
    for change in gone:
        print(f"explained in {EQUIVALENT.name}, but no mutant that survives:\n{change}\n")
    return 1 if survivors or gone else 0


def _mangled(module: str) -> Iterable[str]:
    return (f"x_{function}__mutmut_*" for function in PARTS[module]) if module in PARTS else ("*",)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Mistake as mistake:
        sys.exit(f"mutation: {mistake}")
