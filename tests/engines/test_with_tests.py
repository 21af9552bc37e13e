"""A package's own tests: what pytest leaves behind, and what it is worth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.engines import exit_states, package_tests
from conformance.engines.model import Candidate, Ending, Lifecycle, Placed
from conformance.engines.package_tests import Finish, OwnTests
from conformance.exits import UserError

PASSES = "def test_passes(): pass\n"


def ran(folder: Path, timeout: float = 60.0, **files: str) -> OwnTests:
    """What becomes of these files, in a process as a cell has it."""
    tests, out = folder / "tests", folder / "out"
    for path in (tests, out):
        path.mkdir()
    for name, text in files.items():
        (tests / name.replace("__", ".")).write_text(text)
    words = (word.replace("{tests}", str(tests)).replace("{out}", str(out)) for word in package_tests.arguments(tests))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=environment, cwd=out, capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip
    said = done.stdout + done.stderr
    return package_tests.account(exit_states.of_tests(done.returncode, said), out, said, 1.0)


def test_every_test_is_counted_once_by_its_outcome(tmp_path: Path) -> None:
    """And one failure is a violation."""
    text = """
import pytest
def test_fails(): assert 0
@pytest.mark.skip
def test_skips(): pass
@pytest.mark.xfail
def test_fails_as_expected(): assert 0
@pytest.fixture
def broken():
    raise OSError
def test_error(broken): pass
@pytest.fixture
def left_open():
    yield
    raise OSError
def test_fails_and_leaves(left_open): assert 0
"""
    found = ran(tmp_path, test_a__py=PASSES + text)
    assert (found.ended, found.exit, found.code) == (Finish.DONE, 1, 1)
    assert (found.passed, found.failed, found.skipped) == (1, 2, 2)
    assert found.errors == 2
    assert str(found) == "✓1 ✗2 !2 ∅2"


def test_a_run_without_a_failure_is_a_success(tmp_path: Path) -> None:
    """Skips beside it do not spoil it, and a setting beside the tests holds."""
    found = ran(tmp_path, check_a__py=PASSES, pytest__ini="[pytest]\npython_files = check_*.py\n")
    assert (found.ended, found.passed, found.code) == (Finish.DONE, 1, 0)


def test_settings_above_the_tests_do_not_count(tmp_path: Path) -> None:
    """No container sees them, so no other place may."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    assert ran(tmp_path, test_a__py=PASSES).code == 0


@pytest.mark.parametrize(
    ("text", "ended", "code", "word"),
    [
        ("", Finish.NO_TESTS, 4, "found no test"),
        ("import ctypes\ndef test_dies(): ctypes.string_at(0)\n", Finish.CRASH, 4, "SIGSEGV, in test_a.py::test_dies"),
        ("import os\ndef test_aborts(): os.abort()\n", Finish.CRASH, 4, "SIGABRT"),
        ("import os\ndef test_leaves(): os._exit(0)\n", Finish.CRASH, 4, "wrote no results, in test_a.py::test_leaves"),
        ("import os, signal\ndef test_x(): os.kill(os.getpid(), signal.SIGKILL)\n", Finish.KILLED, 4, "SIGKILL"),
        ("import no_such_module\n", Finish.DONE, 1, "exit code 2"),
        ("import pytest\ndef test_x(): pytest.exit('enough', 3)\n", Finish.NOT_RUN, 4, "exit code 3"),
        ("def test_x(): raise KeyboardInterrupt\n", Finish.DONE, 4, "exit code 2"),
    ],
)
def test_anything_but_a_whole_run_is_no_success(tmp_path: Path, text: str, ended: Finish, code: int, word: str) -> None:
    """However it ended, that is told, with the test that it ended in."""
    found = ran(tmp_path, test_a__py=text)
    assert (found.ended, found.code) == (ended, code)
    assert word in found.reason.replace(f"{tmp_path}/", "").replace("../tests/", "")


@pytest.mark.parametrize(
    ("lifecycle", "ended", "code"),
    [
        (Lifecycle.DEADLINE, Finish.HANG, 4),
        (Lifecycle.STOPPED, Finish.STOPPED, 4),
        (Lifecycle.OUT_OF_MEMORY, Finish.OUT_OF_MEMORY, 4),
        (Lifecycle.NO_SPACE, Finish.NO_SPACE, 6),
        (Lifecycle.ENGINE_GONE, Finish.NOT_RUN, 4),
    ],
)
def test_what_the_runner_or_the_engine_did_is_told(
    tmp_path: Path, lifecycle: Lifecycle, ended: Finish, code: int
) -> None:
    """Results that were written all the same are not counted."""
    (tmp_path / package_tests.RESULTS).write_text("<testsuites><testsuite><testcase/></testsuite></testsuites>")
    found = package_tests.account(Ending(lifecycle, "why", -15), tmp_path, "test_a.py::test_waits ", 3.0)
    assert (found.ended, found.code, found.passed) == (ended, code, None)
    assert OwnTests.from_json(found.to_json()) == found


def test_results_that_are_not_whole_are_none(tmp_path: Path) -> None:
    """A file that was cut off counts nothing."""
    (tmp_path / package_tests.RESULTS).write_text("<testsuites><testsuite><testcase/>")
    assert package_tests.account(Ending(Lifecycle.DONE, "0", 0), tmp_path, "", 1.0).code == 4


WHOLE = "<testsuites><testsuite><testcase/></testsuite></testsuites>"
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><testsuites>&b;<testcase/></testsuites>'


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode(),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuites><testcase/></testsuites>',
        b"\xff\xfe" + WHOLE.encode(),
        b"<testsuites>" * 1000,
        b"<testsuites>\xff<testcase/></testsuites>",
        b"",
        b"\x00" * 100,
    ],
)
def test_odd_xml_is_none(content: bytes, tmp_path: Path) -> None:
    """The package under test controls the file."""
    (tmp_path / package_tests.RESULTS).write_bytes(content)
    assert package_tests.counted(tmp_path / package_tests.RESULTS) is None


@pytest.mark.parametrize("encoding", ["utf-7", "x-nothing", "utf-32", "idna", "rot13", "hex", "gb18030", "cp037"])
def test_an_encoding_that_xml_claims_to_have_decides_nothing(encoding: str, tmp_path: Path) -> None:
    """The reader assumes UTF-8, as pytest writes it."""
    (tmp_path / package_tests.RESULTS).write_text(f'<?xml version="1.0" encoding="{encoding}"?>{WHOLE}')
    assert package_tests.counted(tmp_path / package_tests.RESULTS) == {"passed": 1}


def test_results_that_are_no_file_are_none(tmp_path: Path) -> None:
    """The reader does not wait for a pipe."""
    os.mkfifo(tmp_path / package_tests.RESULTS)
    assert package_tests.counted(tmp_path / package_tests.RESULTS) is None


def test_the_tests_are_copied_as_they_are_planned(tmp_path: Path) -> None:
    """Without what earlier runs left in them, and without the folder of the run itself."""
    tests, out = tmp_path / "tests", tmp_path / "tests" / "out"
    for path in (out, tests / "__pycache__", tests / "data"):
        path.mkdir(parents=True)
    (tests / "test_a.py").write_text(PASSES)
    (tests / "data" / "x.bin").write_bytes(b"x")
    package_tests.copy(tests, out)
    copied = sorted(str(path.relative_to(out / "with-tests")) for path in (out / "with-tests").rglob("*"))
    assert copied == ["data", "data/x.bin", "test_a.py"]


def test_the_copy_of_the_tests_lets_no_other_user_write(tmp_path: Path) -> None:
    """The original may: a resumed run executes the copy alone."""
    (tmp_path / "own" / "below").mkdir(parents=True)
    (tmp_path / "own" / "below" / "conftest.py").touch()
    for path in (tmp_path / "own", *(tmp_path / "own").rglob("*")):
        path.chmod(0o777)
    (tmp_path / "out").mkdir()
    package_tests.copy(tmp_path / "own", tmp_path / "out")
    copied = [tmp_path / "out" / "with-tests", *(tmp_path / "out" / "with-tests").rglob("*")]
    assert [path.stat().st_mode & 0o777 for path in copied] == [0o755] * 3


def test_a_dangling_link_among_the_tests_is_told(tmp_path: Path) -> None:
    """A container would see nothing behind it."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "x").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be copied"):
        package_tests.copy(tmp_path / "tests", tmp_path / "out")


def test_the_sources_of_a_candidate_among_the_tests_are_told(tmp_path: Path) -> None:
    """They would be imported instead of it."""
    tests, candidate = tmp_path / "tests", tmp_path / "candidate"
    for path in (tests / "stripes", tests / "data", candidate / "stripes", candidate / "stripes-1.1.dist-info"):
        path.mkdir(parents=True)
    placed = Placed(Candidate("stripes", "1.1", "", "", ""), candidate)
    assert package_tests.in_the_way(tests, [placed]) == ["stripes"]
    (tests / "stripes").rmdir()
    assert package_tests.in_the_way(tests, [placed]) == []
