"""Whether a candidate came into effect is read from what the cell has seen, and believed from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.engines.candidates import effect
from conformance.engines.model import Candidate

ONE = Candidate("numpy", "2.6.0rc1", "n.whl", "0" * 64, "numpy==2.6.0rc1", "2.5.2")
FOLDER, SITE = "/candidates/numpy", "/opt/cell/lib/python3.12/site-packages"


def module(**other: Any) -> dict[str, Any]:
    """``numpy`` from the candidate's folder."""
    return {"module": "numpy", "file": f"{FOLDER}/numpy/__init__.py", "version": "2.6.0rc1", "error": None, **other}


def facts(**other: Any) -> dict[str, Any]:
    """A candidate that stands in its cell."""
    found = [{"version": "2.6.0rc1", "folder": FOLDER}]
    return {"folder": FOLDER, "distribution": "numpy", "found": found, "modules": [module()], "trouble": None, **other}


def library(version: str = "2.6.0rc1", absent: str | None = None) -> dict[str, Any]:
    """The library as the suite knows it."""
    return {"name": "numpy", "versions": {"numpy": version}, "absent": absent}


def troubles(
    candidate: dict[str, Any] | None, *libraries: dict[str, Any], planned: set[str] | None = None
) -> list[str]:
    """What is wrong in a cell that says this."""
    environment = {"candidates": [candidate] if candidate else [], "libraries": list(libraries or [library()])}
    return effect.troubles(environment, [ONE], planned)


def test_a_candidate_that_is_found_alone_and_imported_is_in_effect() -> None:
    """Whether or not its modules say a version; one that says none that can be compared says nothing."""
    for version in ("2.6.0rc1", "2.6.0-rc.1", None, "of today"):
        assert troubles(facts(modules=[module(version=version)])) == []
    assert troubles(facts(modules=[module(), module(module="old", version="1.0")])) == []
    assert troubles(facts(modules=[module(), module(module="tool", error="ImportError: no yaml")])) == []


@pytest.mark.parametrize(
    ("candidate", "sentence"),
    [
        (None, "does not mention it"),
        (facts(found=[]), "does not find it"),
        (facts(found=[{"version": "2.6.0rc1", "folder": FOLDER}, {"version": "2.5.2", "folder": SITE}]), "2.5.2 in /opt"),
        (facts(found=[{"version": "2.5.2", "folder": SITE}]), "finds 2.5.2"),
        (facts(found=[{"version": "2.5.2", "folder": FOLDER}]), "finds 2.5.2"),
        (facts(modules=[module(file=f"{SITE}/numpy/__init__.py")]), "imported from /opt/cell"),
        (facts(modules=[module(file=f"{FOLDER}-old/numpy/__init__.py")]), "imported from"),
        (facts(modules=[module(), module(module="f2py", file=f"{SITE}/f2py.py")]), "f2py is imported from"),
        (facts(modules=[module(version="2.5.2")]), "reports version 2.5.2"),
        (facts(modules=[module(error="ImportError: libx.so", version=None)]), "none of its modules can be imported: numpy"),
        (facts(modules=[]), "none of its modules"),
        (facts(distribution=None, trouble="the probe died with signal 11"), "signal 11"),
    ],
)  # fmt: skip
def test_anything_else_is_not_the_candidate(candidate: dict[str, Any] | None, sentence: str) -> None:
    """A run that has tested the released version must not pass for one of the candidate."""
    (told,) = troubles(candidate)
    assert told.startswith("numpy 2.6.0rc1: ")
    assert sentence in told


def test_a_library_that_the_suite_could_not_use_was_not_tested() -> None:
    """Nothing of it has been seen, so nothing of it conforms."""
    (told,) = troubles(facts(), library(absent="cannot be loaded: ImportError"))
    assert "could not use it: cannot be loaded" in told
    (told,) = troubles(facts(), library("2.5.2"))
    assert "has tested 2.5.2" in told


def test_a_library_that_no_planned_case_is_about_was_not_tested() -> None:
    """Unless tests beside ours are run, too; of what is no library of the suite nobody plans a case."""
    assert troubles(facts(), planned={"numpy", "reference"}) == []
    (told,) = troubles(facts(), planned={"torch", "reference"})
    assert told.endswith("no planned case tests it")
    assert troubles(facts(), planned=None) == []
    other = {"name": "torch", "versions": {"torch": "2.13"}, "absent": None}
    assert troubles(facts(), other, planned={"torch"}) == []
