"""Control of a process that is lost at the interpreter's exit: a process that only loads the libraries of the case, and exits.

If the control is lost too, the exchange is not the cause: an exit handler crashes, or a replaced stream cannot be flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conformance.checks.children import EXITING
from conformance.checks.codes import Code
from conformance.checks.interpreter import SURVIVAL
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Outcome, Side
from conformance.protocols.clauses import Level, Role

from .results import Accused, Result

_CODES = {Outcome.CRASH: Code.PROGRAM_CRASH, Outcome.HANG: Code.PROGRAM_HANG}
_SIDES = {Side.PRODUCER: Role.PRODUCER, Side.CONSUMER: Role.CONSUMER}


@dataclass(frozen=True)
class Ended:
    """End of a control. ``outcome`` is ``PASS`` for a clean exit, and ``INCONCLUSIVE`` if it proves nothing.

    ``told`` is the end in words, as part of a sentence.
    """

    outcome: Outcome
    told: str


Load = Callable[[tuple[str, ...]], Ended]
"""Load these libraries in a new process, which then exits."""


def compared(result: Result, load: Load) -> Result:
    """Return the result of a case that lost its process at exit, after its controls: each library alone, then all of them.

    If a control is lost too, the result reports that control. A loss that needs several libraries accuses none of them alone.
    """
    names = tuple(dict.fromkeys(name for name in result.case.libraries if name != REFERENCE))
    tries = [(name,) for name in names] + ([names] if len(names) > 1 else [])
    for loaded in tries:
        ended = load(loaded)
        if ended.outcome is Outcome.INCONCLUSIVE:
            reason = f"{result.reason}; the control, a process that only loads {_listed(loaded)}, is inconclusive: {ended.told}"
            return Result(
                result.case, Outcome.INCONCLUSIVE, result.level, reason=reason, attachments=result.attachments
            )
        if ended.outcome is not Outcome.PASS:
            return _by_loading(result, loaded, ended)
    return result.beside({"control": f"a process that only loads {_listed(names)} exits cleanly"}) if names else result


def _by_loading(result: Result, loaded: tuple[str, ...], ended: Ended) -> Result:
    """Return the loss as a failure of the libraries that show it without an exchange."""
    case = result.case
    side = Side.PRODUCER if loaded[0] == case.producer else Side.CONSUMER
    does = "keep" if len(loaded) > 1 else "keeps"
    end = "end" if len(loaded) > 1 else "ends"
    how = f"{does} the process from ending" if ended.outcome is Outcome.HANG else f"{end} the process"
    return Result(
        case,
        result.outcome,
        Level.MUST,
        code=_CODES[ended.outcome].value,
        clause=SURVIVAL,
        role=_SIDES[side],
        given=EXITING,
        accused=Accused(side, loaded, "the process only loaded the library") if len(loaded) == 1 else None,
        reason=f"{_listed(loaded)} {how} at the interpreter's exit, even without an exchange",
        expected="exit code 0",
        seen=f"{result.reason}; a process that only loads {_listed(loaded)}: {ended.told}",
        attachments=result.attachments,
    )


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names)
