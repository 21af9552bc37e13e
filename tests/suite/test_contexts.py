"""Invariants about current contexts, with make-believe contexts: no GPU is needed to see that they can fail."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome
from conformance.cuda import context
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.protocols.dlpack import Tensor
from conformance.reference.importer import Imported, Importer

PRIMARY, PRIVATE, OTHER = 1, 2, 3


class Contexts:
    """Which context is current, without a driver."""

    def __init__(self) -> None:
        self.now = 0

    def set_current(self, handle: int) -> None:
        """Change it."""
        self.now = handle

    def create(self) -> int:
        """A private one, which is current from then on."""
        self.now = PRIVATE
        return PRIVATE


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Contexts:
    """In place of the driver's."""
    made = Contexts()
    monkeypatch.setattr(context, "current", lambda: made.now)
    monkeypatch.setattr(context, "primary", lambda: PRIMARY)
    monkeypatch.setattr(context, "set_current", made.set_current)
    monkeypatch.setattr(context, "create", made.create)
    monkeypatch.setattr(context, "destroy", lambda handle: None)
    return made


def run(name: str, contexts: Contexts, protocol: Protocol, importer: type[Importer]) -> Result:
    """The reference with itself on the simulated device."""
    adapter = ReferenceAdapter()
    adapter.importer_class = importer  # type: ignore[misc]
    case = Case(name, "reference", "reference", protocol.value, Device.SIMULATED)
    return Workbench({"reference": adapter}).run(case, catalogue()[name])


def meddling(contexts: Contexts, leave: int) -> type[Importer]:
    """An importer that leaves this context current."""

    class Meddling(Importer):
        def take_dlpack(self, source: Any, **requested: Any) -> Imported:
            contexts.now = leave
            return super().take_dlpack(source, **requested)

        def take_cai(self, source: Any) -> Imported:
            contexts.now = leave
            return super().take_cai(source)

    return Meddling


def confused(contexts: Contexts) -> type[Importer]:
    """An importer that looks one element further on where a private context is current."""

    class Confused(Importer):
        def take_dlpack(self, source: Any, **requested: Any) -> Imported:
            return self.moved(super().take_dlpack(source, **requested))

        def take_cai(self, source: Any) -> Imported:
            return self.moved(super().take_cai(source))

        def moved(self, taken: Imported) -> Imported:
            taken.address += 4 if contexts.now == PRIVATE else 0
            return taken

    return Confused


BOTH = pytest.mark.parametrize("protocol", list(Protocol))
NAMES = pytest.mark.parametrize("name", ["context.unchanged", "context.private"])


@BOTH
@NAMES
def test_a_conversion_that_leaves_the_context_alone_is_not_accused(
    name: str, protocol: Protocol, contexts: Contexts
) -> None:
    """And what was current before the case, or else the primary context, is so after it."""
    contexts.now = OTHER
    assert run(name, contexts, protocol, Importer).outcome is Outcome.PASS
    assert contexts.now == {"context.unchanged": OTHER, "context.private": PRIMARY}[name]


@BOTH
@NAMES
@pytest.mark.parametrize("leave", [0, OTHER])
def test_a_conversion_that_changes_the_context_is_observed(
    name: str, leave: int, protocol: Protocol, contexts: Contexts
) -> None:
    """No document forbids it."""
    result = run(name, contexts, protocol, meddling(contexts, leave))
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, Level.OBSERVED, "G10")


@BOTH
def test_wrong_elements_under_a_private_context_are_a_violation(protocol: Protocol, contexts: Contexts) -> None:
    """Refusing would have been well."""
    result = run("context.private", contexts, protocol, confused(contexts))
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)


@pytest.mark.parametrize("name", ["context.unchanged", "context.private", "context.fresh-thread"])
def test_no_garbage_is_collected_while_contexts_are_looked_at(name: str, contexts: Contexts) -> None:
    """Freeing what an earlier case has left behind may make a context current, which would be taken for the exchange's doing."""
    seen = []

    class Looking(Importer):
        def read_tensor(self, tensor: Tensor) -> Imported:
            seen.append(gc.isenabled())
            return super().read_tensor(tensor)

    assert run(name, contexts, Protocol.DLPACK, Looking).outcome is Outcome.PASS
    assert seen[-1] is False
    assert gc.isenabled()


def test_no_library_is_loaded_in_the_fresh_thread(contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading PyCUDA makes a context current there: what was tried would depend on what the process had loaded before."""
    asked, get = [], Workbench.get

    def looking(bench: Workbench, name: str) -> Adapter:
        asked.append(threading.current_thread())
        return get(bench, name)

    monkeypatch.setattr(Workbench, "get", looking)
    assert run("context.fresh-thread", contexts, Protocol.DLPACK, Importer).outcome is Outcome.PASS
    assert set(asked) == {threading.main_thread()}
