"""A write beside a block of the reference is seen, with its place and the library that writes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.outcomes import Outcome, Refused, Side
from conformance.cuda import context
from conformance.cuda import driver as real
from conformance.cuda import memory as cuda_memory
from conformance.execution.accusations import accused
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Role
from conformance.reference import guards
from conformance.reference.guards import GUARDS, Guards, spills
from conformance.reference.memory import ALIGNMENT, CudaMemory, HostMemory, Memory, simulated
from conformance.selftest.make_believe import driver

CASE = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST, (("layout", "c-order"),))


@pytest.mark.parametrize("memory", [HostMemory(), simulated()], ids=["host", "simulated"])
@pytest.mark.parametrize("nbytes", [0, 1, 48, 5000])
def test_blocks_are_aligned_and_guarded_on_both_sides(memory: Memory, nbytes: int) -> None:
    """Also a block in the memory of a released one."""
    for _ in range(2):
        block = memory.allocate(nbytes)
        assert block.address % ALIGNMENT == 0
        assert memory.read(block.address, nbytes) == bytes(nbytes)
        assert not spills(block)  # type: ignore[arg-type]
        ctypes.memset(block.address + nbytes, 0, 1)
        ctypes.memset(block.address - 8, 0xFF, 8)
        assert [(spill.offset, spill.changed) for spill in spills(block)] == [(-8, 8), (nbytes, 1)]  # type: ignore[arg-type]
        ctypes.memmove(block.address - guards.SIZE, guards.PATTERN, guards.SIZE)
        del block


def test_cuda_memory_is_guarded_too() -> None:
    """All kinds of memory, by the driver; the report gives the distance to the block in bytes."""
    with driver.believed():
        for kind in cuda_memory.Kind:
            memory = CudaMemory(kind)
            block = memory.allocate(48)
            assert not spills(block)
            memory.write(block.address + 50, b"\0\0")
            (spill,) = spills(block)
            assert spill.told.startswith("2 bytes changed, starting 2 bytes behind the end of the block (48 bytes at ")
            del block  # the driver has to be there when it is freed


@pytest.mark.parametrize("nbytes", [0, 48, (1 << 20) + 1])
def test_a_filled_cuda_block_has_its_bytes_between_its_guard_bytes(nbytes: int) -> None:
    """One copy writes them all, where the bytes are given or few."""
    data = bytes(n % 251 for n in range(nbytes))
    with driver.believed():
        block = CudaMemory().filled(data)
        assert cuda_memory.read(block.address, nbytes) == data
        assert not spills(block)
        empty = CudaMemory().allocate(nbytes)
        assert not spills(empty)
        del block, empty


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the calls of the made-up driver."""
    made: list[str] = []
    with driver.believed():
        CudaMemory().filled(b"once")  # streams and pinned memory are made at first use
        status = real.status

        def noted(name: str, *arguments: object) -> int:
            made.append(name)
            return status(name, *arguments)

        monkeypatch.setattr(real, "status", noted)
        yield made


def test_the_guard_bytes_of_several_blocks_are_compared_with_one_wait(calls: list[str]) -> None:
    """Each wait lasts until it is this process's turn on the GPU. A later release compares nothing again."""
    watch, memory = Guards(), CudaMemory()
    blocks = [memory.filled(bytes(8)) for _ in range(3)]
    for block in blocks:
        watch.enrol(block)
    memory.write(blocks[1].address + 8, b"\0")
    calls.clear()
    watch.retire_all(blocks)
    assert calls.count("cuStreamSynchronize") == 1
    assert [spill.address for spill in watch.spills()] == [blocks[1].address]
    watch.retire(blocks[1])
    assert len(watch.spills()) == 1


def test_writes_that_belong_together_are_waited_for_once(calls: list[str]) -> None:
    """Also those with guard bytes; afterwards each write waits by itself again."""
    memory = CudaMemory()
    with cuda_memory.together():
        blocks = [memory.filled(bytes([n] * 4)) for n in (1, 2)]
        memory.write(blocks[0].address, b"\7")
        assert not [name for name in calls if name.endswith("Synchronize")]
    assert [name for name in calls if name.endswith("Synchronize")] == ["cuCtxSynchronize"]
    assert [memory.read(block.address, 4) for block in blocks] == [b"\7\1\1\1", b"\2\2\2\2"]
    calls.clear()
    memory.write(blocks[0].address, b"\0")
    assert "cuCtxSynchronize" in calls


def test_a_context_that_is_current_is_not_pushed(calls: list[str]) -> None:
    """Another one is, and is current again afterwards."""
    block = CudaMemory().filled(bytes(4))
    with context.using(context.primary()):
        calls.clear()
        cuda_memory.read(block.address, 4)
        assert "cuCtxPushCurrent_v2" not in calls
    before = context.current()
    calls.clear()
    cuda_memory.read(block.address, 4)
    assert "cuCtxPushCurrent_v2" in calls
    assert context.current() == before


def test_reserved_address_space_is_guarded() -> None:
    """By the pages beside it."""
    memory = HostMemory()
    block = memory.reserve(1 << 20)
    memory.write(block.address - 1, b"\0")
    (spill,) = spills(block)
    assert spill.told.startswith("1 byte changed, starting 1 bytes before the block")


def test_a_block_counts_from_its_beginning_to_its_end_and_in_its_case_alone() -> None:
    """A released block still counts; a block of an earlier case does not."""
    watch, memory = Guards(), HostMemory()
    gone, early = memory.allocate(8), memory.allocate(8)
    watch.enrol(early)
    watch.begin()
    watch.enrol(gone)
    for block in (gone, early):
        memory.write(block.address + 8, b"\0")
    watch.retire(gone)
    watch.retire(early)
    assert [spill.address for spill in watch.spills()] == [gone.address]


# -- as a verdict


def ran(names: tuple[str, str], writer: str, error: Exception | None = None) -> Result:
    """The result of a case between two libraries, with a write beside an array of the reference that is lent to them."""

    def check(exchange: Exchange) -> None:
        source = exchange.make(exchange.library("reference"))
        if writer in names:
            exchange.poke(source.start + len(source.block) + 3, b"\0")
        if error is not None:
            raise error

    case = replace(CASE, producer=names[0], consumer=names[1])
    bench = Workbench({name: ReferenceAdapter() for name in ("reference", "one", "two")})
    return bench.run(case, replace(catalogue()[case.invariant], check=check))


@pytest.mark.parametrize("names", [("reference", "one"), ("one", "reference")])
def test_the_only_library_that_takes_part_is_accused(names: tuple[str, str]) -> None:
    """On whichever side it stands."""
    result = accused(ran(names, "one"), {}.get)
    assert (result.outcome, result.code, result.seen[:56]) == (
        Outcome.FAIL, Code.WRITE_OUTSIDE.value, "1 byte changed, starting 3 bytes behind the end of the b",
    )  # fmt: skip
    assert result.accused is not None
    assert result.accused.libraries == ("one",)
    assert (result.role is Role.CONSUMER) == (names[1] == "one")


def test_of_two_libraries_the_one_that_does_it_alone_is_accused() -> None:
    """If neither does, the accused is not known."""
    both = ran(("one", "two"), "two")
    trials = {
        each.case.id: each for each in (ran(("one", "reference"), "two"), ran(("reference", "two"), "two"))
    }  # the second one writes
    found = accused(both, trials.get).accused
    assert found is not None
    assert (found.side, found.libraries) == (Side.CONSUMER, ("two",))
    quiet = {id: replace(each, outcome=Outcome.PASS, code="") for id, each in trials.items()}
    found = accused(both, quiet.get).accused
    assert found is not None
    assert found.side is Side.UNKNOWN


def test_a_refusal_that_writes_is_no_refusal() -> None:
    """And a failure stays what it is, with a note."""
    assert ran(("reference", "one"), "one", Refused("one: no")).code == Code.WRITE_OUTSIDE.value
    assert "beside a block" in ran(("reference", "one"), "one", Refused("one: no")).attachments
    assert ran(("reference", "one"), "", Refused("one: no")).outcome is Outcome.REFUSED


def test_no_case_is_blamed_for_a_write_of_an_earlier_one() -> None:
    """Each begins anew."""
    assert ran(("reference", "one"), "one").outcome is Outcome.FAIL
    assert ran(("reference", "one"), "").outcome is Outcome.PASS
    assert not GUARDS.spills()
