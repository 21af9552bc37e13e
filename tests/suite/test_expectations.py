"""What releases changed: versions are compared as numbers, and a preview of a release comes before it."""

from __future__ import annotations

import pytest

from conformance.adapters import registry
from conformance.checks.expectations import ANY, EXPECTATIONS, Change, changed, expectation, holds, release
from conformance.findings import known
from conformance.protocols.clauses import LIBRARY, clause


@pytest.mark.parametrize(
    ("version", "numbers", "is_before"),
    [
        ("2.14", (2, 14), False),
        ("2.14.0", (2, 14), False),
        ("2.14.1.post1", (2, 14, 1), False),
        ("2.15.0a0", (2, 15), True),
        ("2.12.0a0+nv25.10", (2, 12), True),
        ("2.13.0+cu130", (2, 13), False),
        ("2.15.0.dev20260901+cu130", (2, 15), True),
        ("0.18.0-beta", (0, 18), True),
        ("2.5.0rc1", (2, 5), True),
        ("0.0", (0,), False),
    ],
)
def test_a_version_is_read(version: str, numbers: tuple[int, ...], is_before: bool) -> None:
    """Whatever stands behind the numbers only says whether the release is out."""
    found = release(version)
    assert found is not None
    assert (found.numbers, found.is_before) == (numbers, is_before)


@pytest.mark.parametrize("version", ["", "unknown", "main", "1" * 40])
def test_what_is_no_version_is_not_read(version: str) -> None:
    """Nothing is guessed."""
    assert release(version) is None


@pytest.mark.parametrize(
    ("change", "version", "has_it"),
    [
        (Change.NEGATIVE_STRIDES, "2.13.1+cu130", False),
        (Change.NEGATIVE_STRIDES, "2.14.0a0+nv26.08", False),
        (Change.NEGATIVE_STRIDES, "2.14.0", True),
        (Change.NEGATIVE_STRIDES, "2.15.0a0", True),
        (Change.NEGATIVE_STRIDES, "2.9", False),
        (Change.NEGATIVE_STRIDES, "unknown", False),
        (Change.BUFFER_ERROR, "2.4.6", False),
        (Change.BUFFER_ERROR, "2.5.0rc1", False),
        (Change.BUFFER_ERROR, "2.5.0", True),
        (Change.BUFFER_ERROR, "2.10.0", True),
        (Change.WAIT_STREAM, "0.16.0", False),
        (Change.WAIT_STREAM, "0.17.0", True),
        (Change.THREAD_CONTEXTS, "0.17.9", False),
        (Change.THREAD_CONTEXTS, "0.18.0", True),
        (Change.THREAD_CONTEXTS, ANY, True),
    ],
)
def test_the_version_decides_what_is_expected(change: Change, version: str, has_it: bool) -> None:
    """At the borders; a version that nobody can read has the older behaviour."""
    assert holds(change, {"distribution": version}) is has_it


def test_a_library_without_versions_has_the_older_behaviour() -> None:
    """Less is expected of it."""
    assert not holds(Change.BUFFER_ERROR, {})


def test_an_environment_is_answered_for() -> None:
    """Each change of a library that is here; those of others are left out."""
    here = [("cvcuda", {"cvcuda-cu13": "0.17.0"}), ("numpy", {"numpy": "2.5.1"})]
    assert changed(here) == {Change.BUFFER_ERROR: True, Change.WAIT_STREAM: True, Change.THREAD_CONTEXTS: False}


def test_every_change_is_of_a_library_that_the_suite_knows_and_has_a_source() -> None:
    """The clause, if there is one, is from that library's own document."""
    assert [entry.change for entry in EXPECTATIONS] == list(Change)
    for entry in EXPECTATIONS:
        assert entry.library in registry.names()
        assert entry.source
        assert release(entry.since) is not None
        assert not entry.clause or (clause(entry.clause).publisher, LIBRARY in clause(entry.clause).duties) == (
            entry.library,
            True,
        )


def test_what_upstream_has_fixed_is_a_regression_from_that_release_on() -> None:
    """The table and the list of known bugs name one release: an abort in a newer PyTorch is new, in an older one it is fixed."""
    entry = known.book().about("torch/consumer/crash/import/array-with-negative-strides")
    assert entry is not None
    assert entry.fixed_in == expectation(Change.NEGATIVE_STRIDES).since
