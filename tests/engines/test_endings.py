"""What exit codes, states and last words mean for a cell."""

from __future__ import annotations

import pytest

from conformance.engines import exit_states
from conformance.engines.exit_states import Container, container, of_check, of_container, without_container
from conformance.engines.model import Cell, Ending, Lifecycle
from conformance.engines.records import Record
from conformance.engines.running import exit_code


@pytest.mark.parametrize("code", [0, 1, 4, 5])
def test_a_check_that_has_written_its_results_is_done(code: int) -> None:
    """With its own exit code beside it."""
    assert (of_check(code, "", wrote=True).lifecycle, of_check(code, "", wrote=True).exit) == (Lifecycle.DONE, code)


def test_a_traceback_is_no_violation_although_its_exit_code_is_the_same() -> None:
    """What counts is whether results were written."""
    ending = of_check(1, "Traceback …\nModuleNotFoundError: No module named 'pytest'\n", wrote=False)
    assert (ending.lifecycle, ending.exit) == (Lifecycle.NOT_RUN, None)
    assert "No module named 'pytest'" in ending.reason


@pytest.mark.parametrize(
    ("code", "said", "lifecycle"),
    [
        (2, "conformance: --case: no such case", Lifecycle.NOT_RUN),
        (6, "conformance: results cannot be written", Lifecycle.NO_SPACE),
        (1, "OSError: [Errno 28] No space left on device", Lifecycle.NO_SPACE),
        (-9, "", Lifecycle.KILLED),
        (137, "", Lifecycle.KILLED),
        (143, "", Lifecycle.KILLED),
        (139, "", Lifecycle.KILLED),
    ],
)
def test_other_ends_have_their_own_names(code: int, said: str, lifecycle: Lifecycle) -> None:
    """None of them is done."""
    assert of_check(code, said, wrote=False).lifecycle is lifecycle


def test_a_container_whose_memory_ran_out_is_never_done() -> None:
    """A library may be absent, or accused, because of the limit alone."""
    assert of_container(Container("exited", 137, True), "", "1g", wrote=False).lifecycle is Lifecycle.OUT_OF_MEMORY
    ending = of_container(Container("exited", 1, True), "", "1g", wrote=True)
    assert (ending.lifecycle, ending.final) == (Lifecycle.OUT_OF_MEMORY, False)
    assert "1g" in ending.reason


def test_a_container_that_was_killed_is_told_from_one_without_memory() -> None:
    """Both end with 137."""
    assert of_container(Container("exited", 137, False), "", "1g", wrote=False).lifecycle is Lifecycle.KILLED


@pytest.mark.parametrize(
    ("said", "answer", "lifecycle"),
    [
        (
            "docker: Error response from daemon: No such image: x:1.",
            "Error: No such container: n",
            Lifecycle.IMAGE_MISSING,
        ),
        ("Error: x:1: image not known", "no container with name", Lifecycle.IMAGE_MISSING),
        ("docker: Unable to find image 'x:1' locally", "", Lifecycle.IMAGE_MISSING),
        ("docker: … mkdir …: no space left on device.", "", Lifecycle.NO_SPACE),
        ("", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", Lifecycle.ENGINE_GONE),
        ("error waiting for container: unexpected EOF", "Cannot connect to the Docker daemon", Lifecycle.ENGINE_GONE),
        ("docker: Error response from daemon: could not select device driver", "", Lifecycle.NOT_RUN),
    ],
)
def test_what_an_engine_says_when_there_is_no_container(said: str, answer: str, lifecycle: Lifecycle) -> None:
    """In docker's words and in podman's."""
    assert without_container(125, said, answer).lifecycle is lifecycle


def test_the_state_of_a_container_is_read_or_is_none() -> None:
    """An engine may answer anything."""
    assert container("exited 137 true\n") == Container("exited", 137, True)
    assert container("Error: no such object") is None
    assert container("") is None


@pytest.mark.parametrize(
    ("reason", "lifecycle"),
    [
        ("CuPy: Hash mismatch", Lifecycle.BUILD_FAILED),
        ("torch: no space left on device", Lifecycle.NO_SPACE),
        ("its base image python:3.12-slim-bookworm is missing: no registry", Lifecycle.IMAGE_MISSING),
        ("Cannot connect to the Docker daemon", Lifecycle.ENGINE_GONE),
    ],
)
def test_why_a_cell_could_not_be_prepared(reason: str, lifecycle: Lifecycle) -> None:
    """What has nothing to do with the cell is told apart."""
    assert exit_states.build_failed(reason).lifecycle is lifecycle


def code(*endings: Ending, stopped: int | None = None) -> int:
    """The exit code of a run whose cells ended so."""
    return exit_code([Record(Cell(f"c{n}"), ending) for n, ending in enumerate(endings)], stopped)


DONE, VIOLATED = Ending(Lifecycle.DONE, "", 0), Ending(Lifecycle.DONE, "", 1)


@pytest.mark.parametrize("lifecycle", [one for one in Lifecycle if one not in (Lifecycle.DONE, Lifecycle.UNRESOLVABLE)])
def test_a_cell_without_results_makes_the_run_incomplete(lifecycle: Lifecycle) -> None:
    """Whatever the reason; a full disk has its own code."""
    assert code(VIOLATED, Ending(lifecycle, "")) == (6 if lifecycle is Lifecycle.NO_SPACE else 4)


def test_the_worst_cell_is_the_exit_code() -> None:
    """Violations before nothing, void before incomplete."""
    assert (code(DONE, DONE), code(DONE, VIOLATED)) == (0, 1)
    assert code(Ending(Lifecycle.DONE, "", 5), Ending(Lifecycle.KILLED, "")) == 5
    assert (code(DONE, stopped=2), code(DONE, stopped=15)) == (130, 143)


def test_unresolvable_is_an_outcome_unless_nothing_else_was_run() -> None:
    """A run of nothing is not a success."""
    nothing = Ending(Lifecycle.UNRESOLVABLE, "")
    assert (code(DONE, nothing), code(nothing, nothing)) == (0, 4)
