"""The pytest plugin of :mod:`overhead`: the same test functions over the same cases by pytest's own means, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.checks.catalogue import Case
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.outcomes import Refused
from conformance.execution.results import read_lines
from conformance.execution.workbench import Workbench

CASES = "PLAIN_CASES"
"""Environment variable with the path of a file of cases, one a line."""
_cases = [Case.from_json(record) for record in read_lines(Path(os.environ[CASES]))]
_bench = Workbench()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each case of the invariant."""
    name = getattr(metafunc.function, "__invariant__", None)
    cases = [case for case in _cases if case.invariant == name]
    metafunc.parametrize("exchange", cases, ids=[case.id for case in cases], indirect=True)


@pytest.fixture
def exchange(request: pytest.FixtureRequest) -> Exchange:
    """The case's exchange."""
    return Exchange(request.param, Partners(_bench.get))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """A refusal is no failure."""
    try:
        return (yield)
    except Refused as refusal:
        pytest.skip(str(refusal))
