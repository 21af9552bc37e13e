"""pytest over the suite as users run it: options, markers, reports, and the cost of a crash."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from libraries import install

from .running import Finished, pytest_over_suite

COPIED = "pointer.same-address/reference-faulty/dlpack/host/vector/float32"
DIES = "pointer.same-address/reference-faulty/dlpack/host/cube/float32"
BETWEEN = ("--interop-between", "faulty")


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Finished:
    """One run with workers: some cases end their process."""
    folder = tmp_path_factory.mktemp("deadly")
    return pytest_over_suite(folder, *BETWEEN, "-k", "same-address", "-n", "2", "-rsx", path=(site,))


def test_a_case_that_kills_its_process_fails_and_the_rest_goes_on(deadly: Finished) -> None:
    """Each crash is one failure; cases before and after it have their own outcome, and no worker is lost."""
    died = {id for id, told in deadly.cases.items() if told.properties["outcome"] == "crash"}
    assert DIES in died
    assert died <= deadly.ended("failure")
    assert all("-faulty/" in id for id in died)
    assert {told.properties["outcome"] for id, told in deadly.cases.items() if "-reference/" in id} == {"pass"}
    assert not re.search(r"worker '\w+' crashed", deadly.stdout)


def test_a_failure_shows_statement_clause_accused_expected_and_actual(deadly: Finished) -> None:
    """As lines of an error, which pytest paints; the source is the check with its statement."""
    id = next(id for id, told in deadly.cases.items() if told.properties.get("code") == "not-shared")
    told = deadly.cases[id]
    assert re.match(r"violates DLP-43 \(faulty\): ", told.message)
    assert "def test_same_address(exchange):" in told.text
    for words in ("expected  element 0 at 0x", "actual  ", "DLP-43, a must for the consumer", "faulty, as consumer"):
        assert words in told.text, words
    assert "test_pointer.py" in told.text


def test_a_crash_has_its_stack_and_its_tries_as_sections(deadly: Finished) -> None:
    """The failure has its evidence, and the command that reproduces it."""
    for title in ("native stack", "tries", "to reproduce"):
        assert re.search(rf"^-+ {title} -+$", deadly.stdout, re.MULTILINE), title
    assert "alone: crash the process crashed with SIGSEGV" in deadly.stdout


def test_options_and_expressions_choose_cases(tmp_path: Path, site: Path) -> None:
    """``-k`` sees the libraries and the parameters of a case; ``-x`` stops at the first failure."""
    done = pytest_over_suite(
        tmp_path, *BETWEEN, "--interop-family", "pointer,dtype", "-k", "reference-faulty and (vector or cube)", "-x",
        path=(site,),
    )  # fmt: skip
    assert done.cases
    assert all("/reference-faulty/" in id and ("vector" in id or "cube" in id) for id in done.cases)
    assert len(done.ended("failure")) == 1


def test_last_failed_runs_what_failed_last_and_passes_when_it_is_mended(tmp_path: Path, site: Path) -> None:
    """The cache of pytest, with and without workers."""
    chosen = (*BETWEEN, "--interop-family", "pointer", "-k", "same-address and float32")
    first = pytest_over_suite(tmp_path, *chosen, "-n", "2", path=(site,))
    again = pytest_over_suite(tmp_path, *chosen, "--lf", path=(site,))
    assert first.ended("failure")
    assert again.ended("failure") == set(again.cases) == first.ended("failure")


def test_markers_choose_by_family_tier_and_kind_of_process(tmp_path: Path, site: Path) -> None:
    """Each is registered, as ``--strict-markers`` demands."""

    def ids(expression: str) -> set[str]:
        done = pytest_over_suite(
            tmp_path, "--interop-between", "reference", "--strict-markers", "--collect-only", "-q", "-m", expression,
            path=(site,), CONFORMANCE_SIMULATE="1",
        )  # fmt: skip
        return {line.partition("[")[2].removesuffix("]") for line in done.stdout.splitlines() if "::" in line}

    assert {id.partition(".")[0] for id in ids("pointer or exchange-api")} == {"pointer", "exchange-api"}
    exclusive, isolated = ids("exclusive and quick"), ids("isolated and not quick")
    assert any(id.startswith("ordering.") for id in exclusive)
    assert isolated
    assert not exclusive & isolated


def test_a_refusal_is_skipped_and_a_deviation_is_an_expected_failure(tmp_path: Path, site: Path) -> None:
    """Neither fails the run, and both have a reason. ``--runxfail`` turns the deviation into a failure."""
    chosen = ("--interop-between", "numpy", "-k", "empty-export or loan-kept", "-rsx")
    pytest.importorskip("numpy")
    done = pytest_over_suite(tmp_path, *chosen, path=(site,))
    deviating = {id for id, told in done.cases.items() if told.properties["verdict"] == "deviates"}
    refused = {id for id, told in done.cases.items() if told.properties["verdict"] == "refused"}
    assert deviating
    assert refused
    assert done.code == pytest.ExitCode.OK
    assert deviating | refused == done.ended("skipped")
    assert re.search(r"^XFAIL .*deviates DLP-19 \(numpy\): ", done.stdout, re.MULTILINE)
    strict = pytest_over_suite(tmp_path, *chosen, "--runxfail", path=(site,))
    assert (strict.code, strict.ended("failure")) == (pytest.ExitCode.TESTS_FAILED, deviating)


def test_canaries_end_as_they_were_built_to_and_pass(tmp_path: Path, site: Path) -> None:
    """They crash, hang and litter in child processes, and pytest continues. An inconclusive case is never a pass."""
    done = pytest_over_suite(
        tmp_path, "--interop-between", "reference", "--interop-canaries", "-k", "canary and (aborts or exits or refuses or raises-exit)",
        path=(site,),
    )  # fmt: skip
    assert done.cases
    assert set(done.cases) == done.ended("")


def test_a_case_without_a_decision_is_an_error_of_its_own(tmp_path: Path, site: Path) -> None:
    """Here the fork server cannot stay: nothing can run, and nothing passes."""
    (tmp_path / "ends").mkdir()
    (tmp_path / "ends" / "sitecustomize.py").write_text(
        "import os, sys\nif 'conformance.execution.forkserver' in sys.orig_argv: os._exit(7)\n"
    )
    done = pytest_over_suite(
        tmp_path, "--interop-between", "reference", "-k", "same-address", path=(tmp_path / "ends", site)
    )
    assert done.cases
    assert set(done.cases) == done.ended("error")
    assert {told.properties["outcome"] for told in done.cases.values()} == {"lost"}
    assert "the fork server ended with exit code 7" in done.stdout
    assert done.code == pytest.ExitCode.TESTS_FAILED


def test_a_library_that_ends_the_server_is_not_imported_there(tmp_path: Path) -> None:
    """The next server forks without it, and the cases of the others run."""
    site = install(tmp_path / "ending", "ending")
    module = site / "ending_module.py"
    module.write_text(module.read_text().replace("preload = ()", "preload = ('ending_library',)"))
    (site / "ending_library.py").write_text("import os\nos._exit(9)\n")
    done = pytest_over_suite(tmp_path, "--interop-between", "ending", "-k", "same-address and float32", path=(site,))
    assert done.cases
    assert {told.properties["outcome"] for told in done.cases.values()} == {"pass"}


def test_a_debugger_stops_where_the_check_fails(tmp_path: Path, site: Path) -> None:
    """``--pdb`` runs the case in the process of pytest; the variables of the check are there."""
    done = pytest_over_suite(
        tmp_path, *BETWEEN, "--pdb", "-k", "same-address and reference-faulty and vector and float32",
        path=(site,), given="print('case is', exchange.case.id)\nwhere\nq\n",
    )  # fmt: skip
    assert f"case is {COPIED}" in done.stdout
    assert re.search(r"^> .*test_pointer\.py\(\d+\)", done.stdout, re.MULTILINE)
    assert "pid" not in done.stderr


def test_a_trace_stops_in_the_check(tmp_path: Path, site: Path) -> None:
    """``--trace``, before anything of it has run."""
    done = pytest_over_suite(
        tmp_path, *BETWEEN, "--trace", "-k", "same-address and reference-reference and c-order and float32",
        path=(site,), given="print('case is', exchange.case.id)\nc\n",
    )  # fmt: skip
    assert "case is pointer.same-address/reference-reference/dlpack/host/c-order/float32" in done.stdout
    assert re.search(r"^> .*test_pointer\.py\(\d+\)test_same_address", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--interop-between", "nowhere"), "--interop-between: there is no library 'nowhere'"),
        (("--interop-family", "nothing"), "--interop-family: there is no family 'nothing'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(tmp_path: Path, site: Path, arguments: tuple[str, ...], words: str) -> None:
    """The message looks like pytest's own usage errors, with the name of the option."""
    done = pytest_over_suite(tmp_path, *arguments, path=(site,))
    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_libraries_are_probed_once_and_never_imported_by_pytest(tmp_path: Path) -> None:
    """By the controller; workers read its plan."""
    log = tmp_path / "log"
    log.mkdir()
    load = "open(os.path.join(os.environ['LOG'], str(os.getpid())), 'w').write(' '.join(sys.orig_argv))"
    site = install(tmp_path / "site", "watched", load=load)
    done = pytest_over_suite(
        tmp_path, "--interop-between", "watched", "--interop-tier", "quick", "-k", "same-address", "-n", "2",
        path=(site,), LOG=str(log),
    )  # fmt: skip
    assert done.cases
    by = [file.read_text() for file in log.iterdir()]
    assert sum("conformance.execution.probe" in words for words in by) == 1
    assert not any("-m pytest" in words or "exec(eval" in words for words in by)
    assert os.listdir(log)
