"""Start of a run of the suite: choose the plugins for the role of this process."""

from __future__ import annotations

import pytest

from conformance.checks import children

from . import job_runner, scope, shared_folder
from .collecting import Collecting
from .isolated import Isolated
from .owner import Owner, isolations
from .running import Running


def begin(config: pytest.Config) -> None:
    """Register the plugins of this process. It is driven by a supervisor, a worker of xdist, or the owner of the run."""
    if scope.is_driven():
        job_runner.begin(config)
        return
    handed = shared_folder.given(config)
    if handed is None:
        config.pluginmanager.register(Owner(config))
        return
    children.die_with_parent()
    cases = handed.cases()
    config.pluginmanager.register(Collecting(isolations(cases), shared_folder.workers(config)))
    config.pluginmanager.register(Running(Isolated(handed, cases)))
