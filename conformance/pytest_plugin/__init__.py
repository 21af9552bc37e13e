"""Pytest plugin that runs the invariants of ``conformance.suite`` as tests. It is installed as an entry point of pytest.

pytest imports this module in every run of an environment with the package. So the module imports nothing
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
    """Return the number of workers for ``-n auto``: as many as ``check`` uses, which also considers the memory."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or not scope.concerns(config):
        return None
    from conformance.execution import machine

    return machine.processes(None, machine.room()).number


def pytest_configure(config: pytest.Config) -> None:
    """Register the other plugins, if this run collects the suite."""
    if not scope.concerns(config):
        return
    from . import startup

    startup.begin(config)
