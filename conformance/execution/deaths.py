"""Results of cases that lost their process or their CUDA context, with the step of the case and the clause for that step."""

from __future__ import annotations

from conformance.adapters.base import Protocol
from conformance.checks.catalogue import VIA, Case, Invariant, catalogue
from conformance.checks.codes import Code
from conformance.checks.input_words import is_ordinary
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Outcome, Side
from conformance.checks.steps import Doing, Step
from conformance.protocols.clauses import LIBRARY, Level, Role, clause

from .results import Accused, Result

_CODES = {
    Outcome.CRASH: Code.CRASH,
    Outcome.HANG: Code.HANG,
    Outcome.POISONED: Code.CONTEXT_CORRUPTED,
}
_ROLES = {Doing.EXPORT: Role.PRODUCER, Doing.IMPORT: Role.CONSUMER, Doing.USE: Role.CONSUMER}
_NO_PROTOCOL = "none"
GENERAL: dict[tuple[str, Role], tuple[str, ...]] = {
    (Protocol.DLPACK.value, Role.PRODUCER): (
        "DLP-59",
        "DLP-01",
        "DLP-13",
        "DLP-16",
        "DLP-20",
        "DLP-23",
        "DLP-27",
        "DLP-28",
        "DLP-43",
        "DLP-46",
        "PY-02",
    ),
    (Protocol.DLPACK.value, Role.CONSUMER): (
        "DLP-58",
        "DLP-26",
        "DLP-31",
        "DLP-36",
        "DLP-43",
        "DLP-45",
        "DLP-46",
        "PY-02",
    ),
    (Protocol.CAI.value, Role.PRODUCER): ("CAI-05", "CAI-01", "CAI-02", "CAI-03", "CAI-11", "CAI-12", "PY-01", "PY-02"),
    (Protocol.CAI.value, Role.CONSUMER): ("CAI-32", "G6", "PY-02"),
    (_NO_PROTOCOL, Role.PRODUCER): ("PY-02",),
    (_NO_PROTOCOL, Role.CONSUMER): ("PY-02",),
}
"""Clauses that any invariant may cite against a side, most general first: every exchange can show a violation of them."""
_OTHER_SUBJECTS = ("DLX-", "STR-", "LIB-", "DOC-")
"""Prefixes of clauses about tables, stream objects and documented calls."""
_AFTERWARDS = (Doing.SETTLE, Doing.LATER)
"""Steps after the check, in which a library has to do nothing but release memory."""
_RELEASING = {
    (Protocol.DLPACK.value, Role.PRODUCER): "DLP-27",
    (Protocol.DLPACK.value, Role.CONSUMER): "DLP-26",
}


def declares(invariant: Invariant, role: Role, cited: str) -> bool:
    """Return whether an invariant may cite this clause against this side. Documents of a library bind it in every invariant."""
    general = {id for (_, side), ids in GENERAL.items() if side is role for id in ids}
    return (
        cited in invariant.duties[role]
        or cited in invariant.context
        or cited in general
        or LIBRARY in clause(cited).duties
        or any(declares(catalogue()[other], role, cited) for other in invariant.repeats)
    )


def died(
    case: Case,
    invariant: Invariant,
    step: Step,
    outcome: Outcome,
    reason: str,
    *,
    seen: str = "",
    attachments: dict[str, str] | None = None,
) -> Result:
    """Return the result of a case that lost its process or context in a step. ``seen`` is the process's exit, if it ended by itself."""
    role = step.role or _ROLES.get(step.doing)
    told = {name: text for name, text in (attachments or {}).items() if text}
    return Result(
        case,
        outcome,
        Level.ROBUSTNESS if step.illegal else Level.MUST,
        code=_CODES[outcome].value,
        clause="" if step.illegal else clause_of(case, invariant, role, step.doing, step.given),
        role=role,
        given=step.given,
        step=step.doing.value,
        accused=_stand_in(step),
        reason=reason,
        expected="the process survives" if seen else "",
        seen=seen,
        attachments=told,
    )


def _stand_in(step: Step) -> Accused | None:
    """Return the library at work, if the check used it in place of the consumer of the case, so that no other can be at fault."""
    if not step.is_lent or step.role is not Role.CONSUMER or step.library in ("", REFERENCE):
        return None
    return Accused(Side.CONSUMER, (step.library,), f"{step.library} was importing, for another part of the check")


# -- when it died, in words

AT_EXIT = "at the interpreter's exit, after the check had ended"
_DID = {Doing.EXPORT: "exported the array", Doing.IMPORT: "imported the array", Doing.USE: "used the import"}


SETTLED = "after the exchange, during garbage collection and the clearing of caches"

_LATER = "in a later case of the same process"


def when(case: Case, step: Step) -> str:
    """Describe a step: ``while torch imported the array``, or ``during the check`` if no library was at work."""
    if step.doing is Doing.LATER:
        return _LATER
    if step.doing is Doing.SETTLE:
        return SETTLED + (f"; the check had ended as {step.ended}" if step.ended else "")
    doing = _doing(case, step)
    return f"while {doing}" if doing else "during the check"


def after(case: Case, step: Step) -> str:
    """Describe the time after a step."""
    if step.doing in _AFTERWARDS:
        return SETTLED if step.doing is Doing.SETTLE else _LATER
    return f"after {_doing(case, step) or 'the check'}"


def _doing(case: Case, step: Step) -> str:
    """Describe the action of a step. A step has only a role, and in a chain two libraries have each role."""
    role = step.role or _ROLES.get(step.doing)
    if step.doing is Doing.RELEASE:
        return f"{_actor(case, step, role)} released arrays" if role else "arrays were released"
    did = _DID.get(step.doing)
    return f"{_actor(case, step, role)} {did}" if did and role else ""


def _actor(case: Case, step: Step, role: Role) -> str:
    if VIA in dict(case.parameters):
        return "a library of the chain"
    name = step.library or (case.producer if role is Role.PRODUCER else case.consumer)
    return "the reference" if name == REFERENCE else name


# -- which clause that is about


def clause_of(case: Case, invariant: Invariant, role: Role | None, doing: Doing, given: str = "") -> str:
    """Return the clause of a step: for the description of an array, for its use as described, or for its release.

    If the check itself makes the input special, its invariant names the clause. The same holds for an invariant about something else than the
    protocol of the exchange: a table, a stream object or a documented call.
    """
    if role is None and doing in _AFTERWARDS:
        role = _settling(invariant)
    if role is None:
        declared = [id for side in (Role.CONSUMER, Role.PRODUCER) for id in invariant.duties[side]]
        return declared[0] if declared else ""
    if (doing is Doing.RELEASE or doing in _AFTERWARDS) and (case.protocol, role) in _RELEASING:
        return _RELEASING[case.protocol, role]
    of_step = GENERAL.get((case.protocol, role), ("",))[0]
    if of_step and is_ordinary(given) and _is_about_exchange(invariant, role):
        return of_step
    return general_clause(case, invariant, role)


def _settling(invariant: Invariant) -> Role | None:
    """Return the role that the cited clause binds, for a loss after the check, before trials find the accused side."""
    return next((role for role in (Role.CONSUMER, Role.PRODUCER) if invariant.duties[role]), None)


def _is_about_exchange(invariant: Invariant, role: Role) -> bool:
    """Return whether the first clause of the invariant for this role is about an exchange."""
    return not any(id.startswith(_OTHER_SUBJECTS) for id in invariant.duties[role][:1])


def general_clause(case: Case, invariant: Invariant, role: Role) -> str:
    """Return the invariant's clause for this role and the case's protocol, or the protocol's most general clause."""
    prefix = {Protocol.DLPACK.value: ("DLP", "DLX"), Protocol.CAI.value: ("CAI", "STR")}.get(case.protocol, ())
    of_protocol = [id for id in invariant.duties[role] if id.startswith(prefix)] if prefix else []
    others = [id for id in invariant.duties[role] if not id.startswith(("DLP", "DLX", "CAI"))]
    found = of_protocol or others or GENERAL.get((case.protocol, role), ("",))
    return found[0]
