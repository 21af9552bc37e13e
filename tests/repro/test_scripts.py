"""Scripts of single cases: they need nothing of ours, and end with the code that says what was seen."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import libraries
import pytest
from conftest import Command

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution.case_names import UnknownName, case_named, everything
from conformance.execution.results import Result
from conformance.protocols.clauses import Level, Role
from conformance.repro import bundle
from conformance.repro.inside import code_of
from conformance.repro.scripts import is_readable, script
from conformance.repro.text import fill, without_unused

EVERYTHING = everything((Device.HOST, Device.CUDA))
READABLE = [case for i in catalogue().values() for case in i.cases(EVERYTHING) if is_readable(case)]
HANDOVER = case_named("ordering.handover/cupy-torch/cai/cuda/inside/stream")
NULL_DELETER = "lifetime.null-deleter/reference-jax/dlpack/host/legacy"
JAX = """
from types import SimpleNamespace
import os

__version__ = "make-believe"
config = SimpleNamespace(update=lambda name, value: None)
numpy = SimpleNamespace(ravel=lambda array: array)


class _Taken:
    def tolist(self):
        return [float(i) for i in range(12)]


def _taken(offer):
    capsule = offer.__dlpack__()
    {take}
    return _Taken()


dlpack = SimpleNamespace(from_dlpack=_taken)
"""


def run(text: str, folder: Path, *, flags: Sequence[str] = ("-I", "-S")) -> subprocess.CompletedProcess[str]:
    """Run a script in an empty folder of its own, without this package, pytest or any library, unless the flags let them in."""
    place = folder / "empty"
    place.mkdir()
    (place / "script.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *flags, "script.py"], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )


def with_jax(take: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script of a capsule without deleter beside a make-believe JAX that does this with the capsule."""
    text = script(case_named(NULL_DELETER))
    (folder / "lib").mkdir()
    (folder / "lib" / "jax.py").write_text(JAX.format(take=take))
    inserted = f"import sys\n\nsys.path.insert(0, {str(folder / 'lib')!r})\n"
    return run(inserted + text, folder)


# -- readable scripts


def test_there_are_readable_scripts_for_many_cases_of_every_class() -> None:
    """One of each class that libraries of today are known to be wrong in."""
    invariants = {case.invariant for case in READABLE}
    assert len(invariants) >= 33
    assert "ordering.handover" in invariants


@pytest.mark.parametrize("name", sorted({case.invariant for case in READABLE}))
def test_readable_scripts_are_python_and_need_nothing_of_ours(name: str) -> None:
    """They are what one pastes into a bug report: the libraries involved, and the standard library."""
    for case in (case for case in READABLE if case.invariant == name):
        imported = {name.split(".")[0] for node in ast.walk(ast.parse(script(case))) for name in _names(node)}
        assert imported <= sys.stdlib_module_names | _libraries(case), case.id


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _libraries(case: Case) -> set[str]:
    """NumPy comes with PyCUDA and CUDA Python, and bfloat16 with a package of its own."""
    modules = {"cuda_python": "cuda", "reference": "ctypes"}
    return {modules.get(name, name) for name in (case.producer, case.consumer)} | {"numpy", "ml_dtypes"}


@pytest.mark.parametrize("name", sorted({case.invariant for case in READABLE}))
def test_a_script_begins_with_what_was_promised_and_ends_with_a_code(name: str) -> None:
    """The statement, the clauses in words, the command that made it, the exit codes; no slot is left open."""
    case = next(case for case in READABLE if case.invariant == name)
    text = script(case)
    head = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert catalogue()[name].statement.split("``")[0] in head
    assert f"python -m conformance repro {case.id}" in head
    assert "Promised" in head
    assert "Ends with" in head
    assert "«" not in text


def test_what_was_seen_is_told_at_the_top() -> None:
    """With the versions that it was seen with, and only the clause that was broken, as it binds the accused side."""
    text = script(HANDOVER, seen("CAI-18", Role.CONSUMER), versions={"torch": "2.11.0"})
    assert "# Seen      read too early; expected new data; saw old data\n" in text
    assert "# Seen with torch 2.11.0\n" in text
    assert "# Promised  CAI-18: A consumer must synchronise on an integer `stream`" in text
    assert "CAI-22" not in text
    assert text.count("# Promised") == 1


def seen(cited: str, role: Role, level: Level = Level.MUST) -> Result:
    """A failure of the hand-over by this clause."""
    return Result(
        HANDOVER, Outcome.FAIL, level, "stale-read", cited, role, reason="read too early", expected="new data",
        seen="old data",
    )  # fmt: skip


def test_a_clause_of_two_sides_is_told_by_the_half_of_the_accused() -> None:
    """The other half would accuse whoever did nothing wrong."""
    text = " ".join(script(HANDOVER, seen("CAI-09", Role.CONSUMER)).replace("#", "").split())
    assert "Promised CAI-09: A consumer should not refuse an array only because its `version` is newer" in text
    assert "A producer must publish `version`" not in text


def test_what_illegal_input_did_is_told_without_a_promise() -> None:
    """Whoever quoted a clause for it would accuse a library of what nobody demands."""
    result = replace(seen("", Role.CONSUMER, Level.ROBUSTNESS), outcome=Outcome.CRASH, reason="it died", expected="")
    text = script(HANDOVER, result)
    assert "# Seen      it died\n" in text
    assert "# Promised  no clause applies, because the protocol forbids the input\n" in text
    assert "CAI-18" not in text


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.REFUSED, Outcome.INCONCLUSIVE, Outcome.LOST])
def test_a_script_of_a_case_that_accuses_nobody_tells_no_failure(outcome: Outcome) -> None:
    """Whatever its result says beside."""
    result = Result(HANDOVER, outcome, Level.MUST, reason="no news")
    assert "no news" not in script(HANDOVER, result)


def test_a_wrong_library_ends_a_script_with_1(tmp_path: Path) -> None:
    """Here by killing its process, at which another one has looked on."""
    done = with_jax("os.abort()", tmp_path)
    assert (done.returncode, "SIGABRT" in done.stdout) == (1, True), done.stderr


def test_a_right_library_ends_a_script_with_0(tmp_path: Path) -> None:
    """What was expected is what was seen."""
    done = with_jax("pass", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_refusal_that_is_allowed_ends_a_script_with_0(tmp_path: Path) -> None:
    """Nothing is wrong."""
    done = with_jax("raise BufferError('no')", tmp_path)
    assert (done.returncode, "refused" in done.stdout) == (0, True), done.stderr


def test_a_missing_library_ends_a_script_with_2(tmp_path: Path) -> None:
    """With a sentence, and no verdict."""
    done = run(script(case_named(NULL_DELETER)), tmp_path)
    assert (done.returncode, "cannot be run here" in done.stdout) == (2, True), done.stderr


def test_whatever_was_not_foreseen_is_no_verdict(tmp_path: Path) -> None:
    """An exception of the script's own would end Python with 1, which means that a library is wrong."""
    text = script(case_named("negotiation.copied-flag/numpy-reference/dlpack/host/true/float32"))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "numpy.py").write_text("__version__ = 'make-believe'\n")
    done = run(f"import sys\n\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\n{text}", tmp_path)
    assert (done.returncode, "AttributeError" in done.stderr) == (3, True), done.stdout + done.stderr


# -- bundles


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pointer.values/reference-reference/dlpack/host/c-order/float32", 0),
        ("canary.crashes", 1),
        ("canary.refuses", 0),
        ("canary.is-poisoned", 1),
    ],
)
def test_a_bundle_ends_as_its_case_does(name: str, code: int, tmp_path: Path) -> None:
    """By the suite's own check, in an interpreter that has neither this package nor pytest."""
    case = _first(name)
    done = run(script(case, bundled=True), tmp_path, flags=("-I", "-S"))
    assert done.returncode == code, done.stdout + done.stderr
    assert case.id in done.stdout


def with_library(take: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the bundle of a case whose consumer is the reference with this line in front of its import."""
    place = libraries.install(folder / "lib", "strange", take=take)
    options = (("layout", "c-order"), ("dtype", "float32"))
    case = Case("pointer.values", "reference", "strange", "dlpack", Device.HOST, options)
    known = f"import os\nimport sys\n\nos.environ['PYTHONPATH'] = {str(place)!r}\nsys.path.insert(0, {str(place)!r})\n"
    return run(known + script(case, bundled=True), folder)


def test_a_bundle_whose_case_fails_ends_with_1(tmp_path: Path) -> None:
    """With what was expected and what was seen, and the clause; the library is one that reads everything as zeros."""
    done = with_library("self.read = lambda array: bytes(48)", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for told in (
        "outcome:  fail (violates)",
        "reason:   the consumer reads elements that differ from the producer's",
        "expected: float32 [",
        "seen:     float32 [0 0 0 0 0 0 0 0]",
        "clause:   DLP-58",
        "code:     values-changed",
    ):
        assert f"\n{told}" in done.stdout


def test_a_bundle_whose_library_dies_ends_with_1(tmp_path: Path) -> None:
    """And says what the library was doing."""
    done = with_library("os.abort()", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\noutcome:  crash (violates)" in done.stdout
    assert "\nreason:   the process crashed with SIGABRT while strange imported the array\n" in done.stdout


def test_a_bundle_that_cannot_decide_ends_with_3(tmp_path: Path) -> None:
    """Neither right nor wrong."""
    reading = "from conformance.adapters.base import Unsupported as U; self.read = lambda array: (_ for _ in ()).throw(U('no'))"
    done = with_library(reading, tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "\noutcome:  inconclusive (not decided)\nreason:   not supported: no\n" in done.stdout


def _first(name: str) -> Case:
    return case_named(name) if "/" in name else next(iter(catalogue()[name].cases(EVERYTHING)))


def test_a_bundle_says_what_is_missing(tmp_path: Path) -> None:
    """A library that is not installed is no verdict."""
    done = run(script(case_named("pointer.values/cvcuda-cvcuda/cai/cuda/c-order/float32"), bundled=True), tmp_path)
    assert (done.returncode, "cannot be run here" in done.stdout) == (2, True), done.stdout + done.stderr


def test_a_bundle_is_the_same_every_time() -> None:
    """It depends on the sources alone: not on the time, and not on the order of a set."""
    case = case_named("pointer.values/reference-reference/dlpack/host/c-order/float32")
    assert script(case, bundled=True) == script(case, bundled=True)
    names = bundle.modules(case)
    with zipfile.ZipFile(io.BytesIO(bundle._zipped(names))) as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert list(names) == sorted(names)


def test_a_bundle_carries_the_check_and_not_the_rest_of_the_suite() -> None:
    """Its own family, what runs a case, and no faults, reports or cells."""
    names = bundle.modules(case_named("pointer.values/reference-reference/dlpack/host/c-order/float32"))
    assert [name for name in names if ".test_" in name] == ["conformance.suite.test_pointer"]
    parts = {name.split(".")[1] for name in names if "." in name}
    assert parts == {
        "adapters", "checks", "cuda", "documents", "execution", "exits", "files", "launcher", "links", "ordering", "private", "programs",
        "protocols", "reference", "repro", "shapes", "suite", "temporary", "verdict",
    }  # fmt: skip


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_code_calls_nothing_right_that_neither_passed_nor_was_refused(outcome: Outcome) -> None:
    """0 is for a pass and for a refusal that is allowed, 1 for what was seen to be broken."""
    case = case_named("pointer.values/reference-reference/dlpack/host/c-order/float32")
    code = code_of(Result(case, outcome, Level.MUST))
    assert (code == 0) == (outcome in (Outcome.PASS, Outcome.REFUSED))
    assert (code == 1) == (outcome in (Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.POISONED))


# -- names, text and the command


def test_a_case_is_known_by_its_name_where_it_cannot_run() -> None:
    """The id comes from somebody's report, and says all that there is to know."""
    case = case_named("layout.null-strides/reference-cvcuda/dlpack/cuda/c-order/1.0")
    assert dict(case.parameters) == {"layout": "c-order", "capsule": "1.0"}


def test_a_case_that_nobody_has_is_told_with_the_closest_one() -> None:
    """A misspelt id is a mistake, not a case."""
    with pytest.raises(UnknownName, match=r"did you mean pointer\.values/numpy-torch/dlpack/host/c-order/float32"):
        case_named("pointer.values/numpy-torch/dlpack/host/c-order/float23")


def test_slots_are_filled_and_an_empty_one_takes_its_line_away() -> None:
    """Several lines are indented like the slot."""
    assert fill("a\n    «b»\n«c»\nd «e»", b="1\n2", c="", e=3) == "a\n    1\n    2\nd 3"


def test_helpers_that_a_script_does_not_use_are_not_in_it() -> None:
    """Functions, classes and methods, and what only those had used."""
    code = "def a():\n    b()\n\n\ndef b():\n    pass\n\n\nclass C:\n    def used(self):\n        pass\n\n    def idle(self):\n        pass\n\n\nC().used()\n"
    assert without_unused(code) == "class C:\n    def used(self):\n        pass\n\n\nC().used()\n"


def test_the_command_writes_a_script(conformance: Command, tmp_path: Path) -> None:
    """And says how it ends."""
    done = conformance("repro", NULL_DELETER, "--out", str(tmp_path / "script.py"))
    assert done.code == 0
    assert "exits with 1 on a failure" in done.stdout
    assert (tmp_path / "script.py").read_text() == script(case_named(NULL_DELETER))


@pytest.mark.parametrize(
    "arguments",
    [
        ("pointer.valuse/a",),
        ("canary.fails/reference-reference/dlpack/host/company",),
        (NULL_DELETER, "--results", "/nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(conformance: Command, arguments: tuple[str, ...]) -> None:
    """No traceback."""
    done = conformance("repro", *arguments)
    assert (done.code, len(done.stderr.strip().splitlines())) == (2, 1)


def test_the_head_says_of_whom_a_clause_asks_something() -> None:
    """Whoever it does not bind would be accused by a report that quotes it."""
    told = script(case_named("layout.null-strides/reference-cvcuda/dlpack/cuda/c-order/legacy"))
    for words in (
        "DLP-21 (the consumer must, as we infer from the text)",
        "DLP-20 (the producer must)",
        "X5 (binds no library)",
    ):
        assert f"# Promised  {words}" in told


def test_a_bundle_of_a_point_carries_the_checks_that_it_repeats() -> None:
    """A finding may come of any of them."""
    invariant = catalogue()["combination.exchange"]
    names = bundle.modules(
        Case("combination.exchange", "reference", "numpy", "dlpack", Device.HOST, (("dtype", "int8"),))
    )
    assert {catalogue()[name].check.__module__ for name in invariant.repeats} <= set(names)
