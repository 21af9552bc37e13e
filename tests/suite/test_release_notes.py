"""Promises of release notes are planned for the libraries and versions that have made them, and for the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import catalogue
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome, Side
from conformance.faults import all_faults
from conformance.protocols.clauses import Level

from .conftest import Runner

_NAME = "release.buffer-error"


@pytest.mark.parametrize(
    ("name", "version", "consumers"),
    [
        ("numpy", "2.4.6", {"reference"}),
        ("numpy", "2.5.0rc1", {"reference"}),
        ("numpy", "2.5.0", {"reference", "numpy"}),
        ("numpy", "2.6.0.dev0", {"reference", "numpy"}),
        ("torch", "2.15.0", {"reference"}),
    ],
)
def test_the_class_of_an_exception_is_judged_from_the_release_on_that_promises_it(
    name: str, version: str, consumers: set[str], reference_environment: Environment
) -> None:
    """An older release has promised nothing, and another library neither."""
    (reference,) = reference_environment.libraries
    here = Environment((reference, replace(reference, name=name, versions={name: version})))
    assert {case.consumer for case in catalogue()[_NAME].cases(here)} == consumers


@pytest.mark.parametrize("fault", ["DevicesByRuntimeError", "TypesByTypeError", "RanksByValueError"])
def test_another_class_violates(fault: str, run_reference: Runner) -> None:
    """It is NumPy's own document, and each of the three is judged for itself."""
    failed = [
        r for r in run_reference(_NAME, all_faults()[f"release.{fault}"], (Device.HOST,)) if r.outcome is Outcome.FAIL
    ]
    assert [(r.code, r.clause, r.level) for r in failed] == [("wrong-exception", "DLP-51", Level.MUST)]
    assert [r.accused.side for r in failed if r.accused] == [Side.CONSUMER]
