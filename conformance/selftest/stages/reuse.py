"""Stage ``reuse``: two sides that order the way back from a DLPack consumer to its producer, which no contract demands.

The plain reference does not do that, so its behaviour is one of the faults here.
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
"""The agreement of both sides beside DLPack: the producer's stream by the address of the capsule's struct."""


class Telling(Exporter):
    """An exporter that registers its stream."""

    def export(self, fields: Fields, owner: Any) -> Any:
        made = super().export(fields, owner)
        if self.writer is not None:
            _writers[self.log.exports[-1].address] = self.writer.handle
        return made


class Careful(Importer):
    """An importer that makes the producer's stream wait until its own work is done."""

    def read_tensor(self, tensor: Tensor) -> Imported:
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


STAGE = Stage("reuse", "two references that order the way back", _partners, _cases)


def _importing(partners: Partners, kind: type[Importer]) -> None:
    adapter = partners[REFERENCE]
    assert isinstance(adapter, ReferenceAdapter)
    adapter.importer_class = kind


@STAGE.fault(_INVARIANT)
def holds_nothing_back(partners: Partners) -> None:
    """Adds no wait on the way back, as DLPack permits, so that the producer's next write overtakes the consumer's read."""
    _importing(partners, Importer)


class _TooEarly(Careful):
    def read_tensor(self, tensor: Tensor) -> Imported:
        """Return an import that makes the producer wait before any work is queued."""
        taken = super().read_tensor(tensor)
        self.hold_back(taken)
        taken.back_to = None
        return taken


@STAGE.fault(_INVARIANT)
def holds_back_when_it_imports(partners: Partners) -> None:
    """Makes the producer wait for the work that was pending at the import, and not for the consumer's later read."""
    _importing(partners, _TooEarly)


class _DefaultStream(Careful):
    def read_tensor(self, tensor: Tensor) -> Imported:
        """Return an import that is registered with the default stream."""
        taken = super().read_tensor(tensor)
        taken.back_to = LEGACY
        return taken


@STAGE.fault(_INVARIANT)
def holds_the_default_stream_back(partners: Partners) -> None:
    """Makes the default stream wait for the consumer's read in place of the producer's stream."""
    _importing(partners, _DefaultStream)


class _WrongWay(Careful):
    def hold_back(self, taken: Imported) -> None:
        """Wait in the wrong direction."""
        if taken.back_to is not None:
            self.memory.streams().wait(self.work_stream, taken.back_to)


@STAGE.fault(_INVARIANT)
def waits_instead_of_holding_back(partners: Partners) -> None:
    """Makes the consumer wait for the producer after its read, in place of the reverse."""
    _importing(partners, _WrongWay)
