"""The stage ``reuse``: two sides that order the way back from a DLPack consumer to its producer, which no contract asks for.

What the invariant observes is what the plain reference does not do: here it is one of the faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE, Environment
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.streams import LEGACY
from conformance.selftest.make_believe.environments import planned
from conformance.selftest.model import Partners, Stage

_INVARIANT = "ordering.reuse"
_writers: dict[int, int] = {}
"""What the two sides agree on beside DLPack: the stream that the producer works on, by the address of the capsule's struct."""


class Telling(Exporter):
    """Leaves word of its stream."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule as any other."""
        made = super().export(fields, owner)
        if self.writer is not None:
            _writers[self.log.exports[-1].address] = self.writer.handle
        return made


class Careful(Importer):
    """Holds the producer's stream back until its own work is done."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """With the stream that word was left of."""
        taken = super().read_tensor(tensor)
        taken.back_to = _writers.get(tensor.address)
        return taken


def _partners() -> Partners:
    adapter = ReferenceAdapter()
    adapter.exporter_class = Telling
    adapter.importer_class = Careful
    return {REFERENCE: adapter}


def _cases(here: Environment) -> Iterator[Case]:
    return planned(here, _INVARIANT)


STAGE = Stage("reuse", "two references that agree on the way back", _partners, _cases)


def _importing(partners: Partners, kind: type[Importer]) -> None:
    adapter = partners[REFERENCE]
    assert isinstance(adapter, ReferenceAdapter)
    adapter.importer_class = kind


@STAGE.fault(_INVARIANT)
def holds_nothing_back(partners: Partners) -> None:
    """The consumer does what DLPack asks, which is nothing: the producer's next write overtakes its read."""
    _importing(partners, Importer)


class _TooEarly(Careful):
    def read_tensor(self, tensor: Tensor) -> Imported:
        """Once, before there is anything to hold back for."""
        taken = super().read_tensor(tensor)
        self.hold_back(taken)
        taken.back_to = None
        return taken


@STAGE.fault(_INVARIANT)
def holds_back_when_it_imports(partners: Partners) -> None:
    """The producer waits for what was pending at the import, not for the consumer's later read."""
    _importing(partners, _TooEarly)


class _DefaultStream(Careful):
    def read_tensor(self, tensor: Tensor) -> Imported:
        """Another stream than the one that word was left of."""
        taken = super().read_tensor(tensor)
        taken.back_to = LEGACY
        return taken


@STAGE.fault(_INVARIANT)
def holds_the_default_stream_back(partners: Partners) -> None:
    """It is the default stream that waits for the consumer's read, not the one that the producer works on."""
    _importing(partners, _DefaultStream)


class _WrongWay(Careful):
    def hold_back(self, taken: Imported) -> None:
        """The other way round."""
        if taken.back_to is not None:
            self.memory.streams().wait(self.work_stream, taken.back_to)


@STAGE.fault(_INVARIANT)
def waits_instead_of_holding_back(partners: Partners) -> None:
    """After its read the consumer waits for the producer, instead of the producer for it."""
    _importing(partners, _WrongWay)
