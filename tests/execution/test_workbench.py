"""The workbench turns every end of a case into a result."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from conformance.adapters.base import Device, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Poisoned
from conformance.checks.outcomes import Inconclusive, Outcome, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.cuda import context
from conformance.execution.results import SEEN, Accused, Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level, Role
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported

CASE = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST, (("layout", "rows"),))
ON_GPU = replace(CASE, device=Device.CUDA)
Check = Callable[[Exchange], None]


def ran(check: Check, case: Case = CASE) -> Result:
    """Return the result of a case with this check."""
    return Workbench().run(case, replace(catalogue()[case.invariant], check=check))


def undecided(exchange: Exchange) -> None:
    """A check that cannot tell."""
    exchange.notes["seen"] = "something"
    raise Inconclusive("who knows")


def failing(
    cited: str = "DLP-58", *, code: Code = Code.VALUES_CHANGED, given: str | None = None, accused: Side | None = None, library: str = "",
    before: Check = lambda exchange: None,
) -> Check:  # fmt: skip
    """A check that fails by this clause against the consumer."""

    def check(exchange: Exchange) -> None:
        before(exchange)
        fail(
            code, cited, role=Role.CONSUMER, reason="other elements", expected=1, seen=2, given=given,
            accused=accused, library=library,
        )  # fmt: skip

    return check


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Poisoned("the CUDA context is corrupted: error 700"), Outcome.POISONED),
        (RuntimeError("no memory"), Outcome.INCONCLUSIVE),
    ],
)
def test_the_context_is_looked_at_whatever_a_check_ended_as(
    answer: Exception, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost context is this case's doing, not the next one's; and a question that fails is no pass."""

    def ask(exchange: Exchange) -> None:
        raise answer

    monkeypatch.setattr(Exchange, "check_context", ask)
    for check in (undecided, lambda exchange: None):
        result = ran(check)
        assert (result.outcome, str(answer) in result.reason) == (outcome, True)


def test_what_was_noted_lies_beside_the_result() -> None:
    """Also where nothing was decided."""
    result = ran(undecided)
    assert (result.outcome, result.attachments["seen"]) == (Outcome.INCONCLUSIVE, "something")


# -- a lost context, and when it was seen


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose context answers with an error, always."""
    monkeypatch.setattr(context, "in_use", lambda: (0,))
    monkeypatch.setattr(context, "health", lambda ordinal: 700)


class Panic(BaseException):
    """A stand-in for Rust's panics, which are no ``Exception``."""


@pytest.mark.parametrize("error", [Panic("unwrap on None"), SystemExit(0)])
def test_what_a_library_raises_is_told_though_no_except_exception_catches_it(error: BaseException) -> None:
    """It refuses, and not cleanly; the process goes on."""

    class Panics(ReferenceAdapter):
        def take(self, offer: object, protocol: object, device: object, **keywords: object) -> Imported:
            raise error

    bench, name = Workbench({"reference": ReferenceAdapter(), "panics": Panics()}), type(error).__name__
    packed = replace(CASE, consumer="panics", parameters=(("layout", "c-order"),))
    result = bench.run(packed, catalogue()["pointer.values"])
    assert (result.outcome, result.code, result.role) == (Outcome.FAIL, "refused", Role.CONSUMER)
    assert f"refused to import: {name}: " in result.seen
    assert "`except Exception` does not catch it" in result.seen
    result = bench.run(replace(CASE, consumer="panics"), catalogue()["pointer.values"])
    assert (result.outcome, result.code, result.given) == (Outcome.FAIL, "defect-exception", name)


class Speechless(TypeError):
    """An exception that has no text to give."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("side", ["producer", "consumer"])
def test_a_refusal_without_a_text_to_be_had_is_a_refusal(side: str) -> None:
    """By either side, and said as such."""

    class Refuses(ReferenceAdapter):
        def take(self, offer: object, protocol: object, device: object, **keywords: object) -> Imported:
            raise Speechless

    class RefusesToExport(Exporter):
        def dlpack(self, **keywords: object) -> object:
            raise Speechless

    adapter = Refuses() if side == "consumer" else ReferenceAdapter()
    if side == "producer":
        adapter.exporter_class = RefusesToExport
    bench = Workbench({"reference": ReferenceAdapter(), "speechless": adapter})
    result = bench.run(replace(CASE, **{side: "speechless"}), catalogue()["pointer.values"])
    assert (result.outcome, result.code) == (Outcome.REFUSED, "")
    told = "Speechless: (no text: `__str__` raises ZeroDivisionError)"
    assert told in result.reason
    assert f" refused to {'import' if side == 'consumer' else 'export'}: " in result.reason


def test_a_base_exception_outside_of_a_step_ends_no_process() -> None:
    """It is a matter of the check then, and accuses no library."""

    def check(exchange: Exchange) -> None:
        raise Panic("in between")

    result = ran(check)
    assert (result.outcome, result.accused) == (Outcome.INCONCLUSIVE, None)
    assert result.reason == "the check itself raised Panic: in between"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.fail.Exception("pytest's own")])
def test_what_is_not_a_librarys_goes_on(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is the user's where it raises, and pytest ends its own tests so."""
    # A job in the background ignores SIGINT.
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)

    def check(exchange: Exchange) -> None:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            raise error

    with pytest.raises(type(error)):
        ran(check)


def test_a_library_raises_keyboard_interrupt_where_ctrl_c_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the processes that cases run in."""
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)

    def check(exchange: Exchange) -> None:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            raise KeyboardInterrupt

    assert ran(check).reason.startswith("the check itself raised KeyboardInterrupt")


def at_work(exchange: Exchange, error: Exception | None = None) -> None:
    """The consumer imports, and looks at what is wrong if that raises."""
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            if error is not None:
                raise error
    except RuntimeError as caught:
        exchange.check_context(caught)


@pytest.mark.usefixtures("sick")
def test_a_context_that_is_lost_in_a_step_is_told_with_the_step() -> None:
    """The driver's answer, the exception, and who was at work; once."""
    result = ran(lambda exchange: at_work(exchange, RuntimeError("boom")), ON_GPU)
    assert result.reason == (
        "the CUDA context is corrupted: error 700 after RuntimeError: boom, seen while the reference imported the array"
    )
    assert (result.outcome, result.code, result.step) == (Outcome.POISONED, "context-corrupted", "import")
    assert (result.role, result.level, result.given) == (Role.CONSUMER, Level.MUST, "a view with an offset")


@pytest.mark.usefixtures("sick")
def test_a_context_that_is_found_lost_at_the_end_is_told_with_what_came_before() -> None:
    """The step is unknown; the result also has the outcome of the check."""
    told = "the CUDA context is corrupted: error 700, seen after arrays were released; the check had ended as pass"
    assert ran(at_work, ON_GPU).reason == told
    told = (
        "the CUDA context is corrupted: error 700, seen after the check; the check had ended as inconclusive who knows"
    )
    assert ran(undecided, ON_GPU).reason == told


# -- a failure


def test_a_failure_becomes_a_result_with_all_that_it_says() -> None:
    """The special input comes from the case, if the check does not name it."""
    assert replace(ran(failing()), duration=0.0) == Result(
        CASE, Outcome.FAIL, Level.MUST, "values-changed", "DLP-58", Role.CONSUMER, given="a view with an offset",
        reason="other elements", expected="1", seen="2",
    )  # fmt: skip


def test_what_is_special_is_told_by_the_check_where_it_knows() -> None:
    """An empty text, too: nothing is special then."""
    said = failing(before=lambda exchange: exchange.special("NULL strides"))
    assert [ran(check).given for check in (said, failing(given="a lie"), failing(given=""))] == [
        "NULL strides",
        "a lie",
        "",
    ]


def test_who_is_accused_is_told_where_the_check_has_proven_it() -> None:
    """And is left open where it has not; the library is told only where it is not the one on that side."""
    assert ran(failing()).accused is None
    assert ran(failing(accused=Side.CONSUMER)).accused == Accused(Side.CONSUMER, (), SEEN)
    named = ran(failing(accused=Side.PRODUCER, library="numpy")).accused
    assert named == Accused(Side.PRODUCER, ("numpy",), SEEN)


def test_a_failure_on_illegal_input_breaks_no_promise() -> None:
    """It is one of robustness, whatever clause the check had in mind; also one that the invariant does not declare."""
    for cited in ("DLP-58", "DLP-30"):
        result = ran(failing(cited, before=lambda exchange: exchange.illegal("a rank of -1")))
        assert (result.verdict.word, result.level, result.clause) == ("robustness", Level.ROBUSTNESS, "")
        assert (result.given, result.code) == ("a rank of -1", "values-changed")


def test_to_take_illegal_input_is_no_failure_by_itself() -> None:
    """Nothing visible went wrong."""
    result = ran(failing(code=Code.ILLEGAL_ACCEPTED, before=lambda exchange: exchange.illegal("a rank of -1")))
    assert (result.verdict.word, result.level, result.clause) == ("observed", Level.OBSERVED, "")


def test_a_clause_that_the_invariant_does_not_declare_accuses_nobody() -> None:
    """It is reported as a mistake of the suite."""
    result = ran(failing("DLP-30"))
    assert (result.outcome, result.code, result.clause, result.accused) == (Outcome.INCONCLUSIVE, "", "", None)
    assert result.reason == (
        "the suite cites DLP-30 against the consumer, which pointer.values does not declare: "
        "other elements (expected 1; saw 2)"
    )


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Refused("torch refused to import: no"), Outcome.REFUSED, "torch refused to import: no"),
        (Unsupported("no bool"), Outcome.INCONCLUSIVE, "not supported: no bool"),
        (ZeroDivisionError("of us"), Outcome.INCONCLUSIVE, "the check itself raised ZeroDivisionError: of us"),
    ],
)
def test_what_else_a_check_raises_accuses_nobody(error: Exception, outcome: Outcome, reason: str) -> None:
    """A mistake of the check's own is kept with its traceback."""

    def check(exchange: Exchange) -> None:
        raise error

    result = ran(check)
    assert (result.outcome, result.reason, result.code, result.accused) == (outcome, reason, "", None)
    assert ("in check" in result.attachments.get("traceback", "")) is isinstance(error, ZeroDivisionError)
