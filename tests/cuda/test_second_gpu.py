"""The instruments where there are two GPUs: memory, streams and contexts of the second."""

from __future__ import annotations

import pytest

from conformance.cuda import context, driver, memory, pointers
from conformance.execution.probe import driver_trouble
from conformance.reference import gpus, streams

TROUBLE = driver_trouble() or (None if driver.device_count() > 1 else "there is only one GPU")
pytestmark = pytest.mark.skipif(TROUBLE is not None, reason=str(TROUBLE))
PATTERN = bytes(range(256)) * 4


@pytest.mark.parametrize("ordinal", [0, 1])
@pytest.mark.parametrize("kind", [memory.Kind.DEVICE, memory.Kind.POOL])
def test_memory_lies_on_its_gpu_whichever_is_current(kind: memory.Kind, ordinal: int) -> None:
    """And is written and read there."""
    with gpus.CUDA.using(1 - ordinal):
        address = memory.allocate(len(PATTERN), kind, ordinal)
        memory.write(address, PATTERN)
        assert memory.read(address, len(PATTERN)) == PATTERN
        assert pointers.ordinal_of(address) == ordinal
        assert gpus.CUDA.current() == 1 - ordinal
        memory.free(address, kind, ordinal)


def test_a_copy_between_gpus_waits_behind_a_latch_and_for_an_event_of_the_other() -> None:
    """The latch holds the first GPU's stream; the second GPU's waits for it, then copies."""
    first, second = streams.cuda(0), streams.cuda(1)
    writer, reader = first.create(), second.create()
    assert (first.gpu_of(writer), first.gpu_of(reader)) == (0, 1)
    source, target = memory.allocate(len(PATTERN)), memory.allocate(len(PATTERN), ordinal=1)
    memory.write(source, bytes(len(PATTERN)))
    memory.write(target, bytes(len(PATTERN)))
    latch = first.hold(writer, 1.0)
    first.fill(source, len(PATTERN) // 4, 0x01010101, writer)
    second.wait(reader, writer)
    second.copy(target, source, len(PATTERN), reader)
    assert not second.done(reader)
    assert latch.held
    latch.release()
    second.synchronize_device()
    latch.close()
    assert memory.read(target, len(PATTERN)) == b"\1" * len(PATTERN)
    first.destroy(writer)
    second.destroy(reader)
    memory.free(source)
    memory.free(target, ordinal=1)


def test_both_contexts_are_in_use_and_well() -> None:
    """Once somebody has asked for them."""
    context.primary(0)
    context.primary(1)
    assert set(context.in_use()) >= {0, 1}
    assert [context.health(ordinal) for ordinal in (0, 1)] == [0, 0]
