"""Owner of a run: the pytest process that the user started, with or without xdist. It probes, plans and keeps the fork server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from conformance import private, settings
from conformance.adapters import registry
from conformance.checks.catalogue import Case, Isolation, Tier, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.console.screen import harmless
from conformance.execution import planning
from conformance.execution.environment import Facts
from conformance.execution.hazards import isolation_of
from conformance.execution.plan import BadSelection, Selection
from conformance.execution.untested import untested
from conformance.exits import UserError
from conformance.temporary import NoTemporaryFiles

from . import options, shared_folder
from .collecting import Collecting, case_of
from .in_process import InProcess, needs_exit
from .isolated import Isolated
from .running import Running
from .server_watch import Keeper
from .shared_folder import Handed
from .turns import Turns

_PREFIX = "--interop-"
_DISTRIBUTES = "dsession"
"""Name under which xdist registers its session in the controller."""


class Owner:
    """Owns the private folder of a run and everything in it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._asked = options.asked(config)
        self._open = ExitStack()
        self._handed: Handed | None = None
        self._keeper: Keeper | None = None
        self._facts: Facts | None = None
        self._cases: list[Case] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Probe and plan, before xdist starts a worker. Raise a mistake of the user as ``pytest.UsageError``."""
        try:
            settings.check(argparse.Namespace(), os.environ)
            self._handed = Handed(self._open.enter_context(private.folder()))
            self._facts, self._cases = planning.planned(_selection(self._asked), self._asked.device)
            self._handed.write(self._cases)
        except (UserError, BadSelection, registry.BadAnnouncement, NoTemporaryFiles) as error:
            raise pytest.UsageError(harmless(str(error)).replace("--", _PREFIX)) from error
        self._keeper = Keeper(self._handed)
        self._open.callback(self._keeper.close)
        if not self._has_workers:
            self._run_here(self._handed)
        self._warn(self._facts)

    def pytest_report_header(self) -> list[str]:
        """Return lines with the tested libraries and the number of cases."""
        return [] if self._facts is None else list(_header(self._facts, len(self._cases)))

    def pytest_unconfigure(self) -> None:
        """End the server, and remove the folder."""
        self._open.close()

    @property
    def _has_workers(self) -> bool:
        """Whether xdist distributes this run."""
        return bool(self._config.pluginmanager.hasplugin(_DISTRIBUTES))

    # -- without workers

    def _run_here(self, handed: Handed) -> None:
        isolated = Isolated(handed, self._cases)
        self._open.callback(isolated.close)
        running = InProcess(isolated, Turns(handed.gate)) if self._asked.in_process else Running(isolated)
        self._config.pluginmanager.register(Collecting(isolations(self._cases), workers=0))
        self._config.pluginmanager.register(running)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the server with the libraries of the selected cases."""
        if self._has_workers:  # the workers collect; the controller has no items
            return
        cases = [case for item in session.items if (case := case_of(item)) is not None]
        isolated = [case for case in cases if needs_exit(case) or not self._asked.in_process]
        if not session.config.option.collectonly:
            self._start(isolated)

    # -- with workers

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand the plan to a worker that is about to start."""
        if self._handed is not None:
            shared_folder.give(node.workerinput, self._handed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Start the server when the first worker has reported the selected cases."""
        known: Mapping[str, Case] = {case.id: case for case in self._cases}
        found = (node.partition("[")[2].partition("]")[0] for node in ids)
        self._start([known[id] for id in found if id in known])

    def _start(self, cases: list[Case]) -> None:
        if cases and self._keeper is not None and not self._keeper.has_started:
            self._keeper.start(dict.fromkeys(name for case in cases for name in case.libraries if name != REFERENCE))

    def _warn(self, facts: Facts) -> None:
        """Warn of installed libraries that are not tested, so that the run does not look like a full success."""
        gaps = untested(facts.environment, self._cases)
        for gap in gaps.unusable:
            self._config.issue_config_time_warning(
                NotTested(harmless(f"{gap.name} is not tested: {gap.why}")), stacklevel=2
            )
        if gaps.only_reference:
            told = "no library is tested, only the reference with itself"
            self._config.issue_config_time_warning(NotTested(told), stacklevel=2)


class NotTested(pytest.PytestWarning):
    """An installed library is not tested."""


def isolations(cases: Iterable[Case]) -> dict[Case, Isolation]:
    """Return the kind of process for each case."""
    return {case: isolation_of(case, catalogue()[case.invariant]) for case in cases}


def _selection(asked: options.Asked) -> Selection:
    return Selection(
        devices=planning.on(asked.device), between=asked.between, families=asked.families, tier=Tier(asked.tier),
        canaries=asked.canaries,
    )  # fmt: skip


def _header(facts: Facts, cases: int) -> Iterator[str]:
    for library in facts.environment.libraries:
        if library.absent is None and library.name != REFERENCE:
            versions = ", ".join(f"{name} {version}" for name, version in library.versions.items())
            yield harmless(f"interop: {versions or library.name} on {' and '.join(d.value for d in library.sides)}")
    yield f"interop: {cases} cases in this environment"
