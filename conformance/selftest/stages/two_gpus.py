"""Stage ``two-gpus``: a simulated library in real new interpreters, on the two GPUs of a simulated driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Device, Protocol, View
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.cuda import context
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported
from conformance.selftest.make_believe import driver
from conformance.selftest.make_believe.environments import planned, shared, with_gpus
from conformance.selftest.make_believe.installing import MadeUpLibrary, Site
from conformance.selftest.model import Stage

_UNTOUCHED, _REMAPPED = "devices.untouched", "devices.remapped"
_SITE = Site("two", first=(driver.believe,))


def _cases(here: Environment) -> Iterator[Case]:
    """Yield the cases with the library on either side."""
    environment = with_gpus(here, REFERENCE, "two", gpus=2)
    return shared(case for case in planned(environment, _UNTOUCHED, _REMAPPED) if case.producer != case.consumer)


STAGE = Stage("two-gpus", "a simulated library in new interpreters with two GPUs", dict, _cases, _SITE.installed)
_fault = _SITE.fault


@_fault(STAGE, "two", _UNTOUCHED, bugs="device-14")
class TouchesTheFirstGpuAtImport(MadeUpLibrary):
    """Creates a context on the first GPU when it is imported, although the second GPU is current."""

    def load(self) -> None:
        context.primary(0)


@_fault(STAGE, "two", _UNTOUCHED)
class TouchesTheFirstGpuWhenItImports(MadeUpLibrary):
    """Creates a context on the first GPU when it imports its first array, whatever GPU the array is on."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        context.primary(0)
        return super().take(offer, protocol, device, **keywords)


@_fault(STAGE, "two", _UNTOUCHED, _REMAPPED)
class ShowsTheFirstGpusMemory(MadeUpLibrary):
    """Reads the first GPU's memory for an import from the second GPU."""

    def read(self, array: Any) -> bytes:
        data = super().read(array)
        return bytes(len(data)) if isinstance(array, Imported) else data


@_fault(STAGE, "two", _UNTOUCHED, _REMAPPED)
class DiesWhereItImports(MadeUpLibrary):
    """Ends the process on an import from another GPU than the machine's first."""

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Imported:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


def _on_the_machine(ordinal: int) -> int:
    """Return a GPU's number without ``CUDA_VISIBLE_DEVICES``."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return int(visible.split(",")[ordinal]) if visible else ordinal


class _MachinesNumber(Exporter):
    def device(self) -> tuple[int, int]:
        kind, ordinal = super().device()
        return kind, _on_the_machine(ordinal)


@_fault(STAGE, "two", _REMAPPED, bugs="device-08")
class ExportsTheMachinesNumber(MadeUpLibrary):
    """Exports the number that the GPU has in the machine, and not its number in the process."""

    exporter_class = _MachinesNumber


@_fault(STAGE, "two", _REMAPPED)
class TellsTheMachinesNumber(MadeUpLibrary):
    """Reports the number that the GPU has in the machine for an import."""

    def describe(self, array: Any) -> View:
        view = super().describe(array)
        if view.device is None or not isinstance(array, Imported):
            return view
        return replace(view, device=(view.device[0], _on_the_machine(view.device[1])))


@_fault(STAGE, "two", _REMAPPED)
class ReadsTheMachinesGpu(MadeUpLibrary):
    """Reads from the GPU that has the array's number in the machine."""

    def read(self, array: Any) -> bytes:
        data = super().read(array)
        ordinal = self.describe(array).device or (2, 0)
        return data if _on_the_machine(ordinal[1]) == ordinal[1] else bytes(len(data))
