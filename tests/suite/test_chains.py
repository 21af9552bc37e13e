"""A chain of imports whose memory is released too early: the case reports it, and the process that judges goes on."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.exchange import GONE
from conformance.checks.outcomes import Outcome
from conformance.execution.workbench import Workbench
from conformance.faults import Fault
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided
from conformance.reference.exporter import Exporter
from conformance.reference.managed import Fields
from conformance.reference.memory import Block, HostBlock, Memory

from .conftest import broken

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_PLACES = itertools.count(1 << 40, 1 << 24)
"""An address for each map, so that no later map takes the place of one that is gone."""


class OwnMap:
    """A copy of a block in a map of its own, which the system takes back with the last reference."""

    ordinal = 0

    def __init__(self, other: Block) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.nbytes = other.nbytes
        self.address = _libc.mmap(next(_PLACES), self.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        ctypes.memmove(self.address, other.address, self.nbytes)

    def release(self) -> None:
        """Nothing: the map lives as long as this."""

    def __del__(self) -> None:
        _libc.munmap(self.address, self.nbytes)


class Unmapped(Exporter):
    """Arrays in maps of their own, which their exports do not keep."""

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **more: Any) -> None:
        super().__init__(memory, OwnMap(block) if isinstance(block, HostBlock) else block, dtype, view, **more)

    def export(self, fields: Fields, owner: Any) -> Any:
        """A capsule that keeps nothing."""
        return super().export(fields, None)


@pytest.mark.parametrize(
    ("dies", "outcome", "seen"), [("first-to-last", Outcome.FAIL, GONE), ("last-to-first", Outcome.PASS, "")]
)
def test_a_chain_without_its_memory_is_a_failure(dies: str, outcome: Outcome, seen: str) -> None:
    """The memory is gone with the exporter's own array, which is the last to die where the chain dies from its end."""
    case = Case("lifetime.chain", "reference", "reference", "dlpack", Device.HOST, (("dies", dies),))
    bench = Workbench({"reference": broken(Fault("unmapped", "keeps nothing", (), exporter=Unmapped))})
    result = bench.run(case, catalogue()[case.invariant])
    assert (result.outcome, result.seen) == (outcome, seen), result.reason
    assert result.code == (Code.RELEASED_EARLY.value if seen else "")
