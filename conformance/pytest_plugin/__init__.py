"""The pytest plugin: the invariants of ``conformance.suite`` as tests. Installed as an entry point of pytest.

pytest imports this module in every run of an environment in which the package is installed. So it imports nothing
heavy, and does nothing unless the run names the suite.
"""

from __future__ import annotations

import os

import pytest

from . import options, scope


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many workers ``-n auto`` starts over the suite: as many as ``check``, which counts memory as well."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or not scope.concerns(config):
        return None
    from conformance.execution import machine

    return machine.processes(None, machine.room()).number


def pytest_configure(config: pytest.Config) -> None:
    """Register everything else, if this run is about the suite."""
    if not scope.concerns(config):
        return
    from . import startup

    startup.begin(config)
