"""Family ``canary``: cases with a known outcome, one for each way in which a case can end. They test the run itself, and no library.

Each canary runs twice: in one process with ordinary cases, and alone in a process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Check, Draft, Needs, catalogue, every, invariant
from conformance.checks.exchange import Exchange, Partners, Poisoned
from conformance.checks.libraries import REFERENCE, Environment
from conformance.checks.offers import Offered
from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults
from conformance.protocols.clauses import Level

HANG_SECONDS = 0.5
"""Timeout of a canary that never ends. It is long enough for the canary to start."""
GPU_HANG_SECONDS = 5.0
"""The same timeout where the canary has to initialize CUDA first."""
_FOREVER = 1e9
_FLOOD_BYTES = 64 << 20
_LITTER = 64
_TOO_MUCH = 1 << 50
_NO_ADDRESS = 0x10


def _planned(*devices: Device) -> Callable[[Environment], Iterator[Draft]]:
    """Return a planner of cases of the reference with itself, on these devices."""

    def plan(env: Environment) -> Iterator[Draft]:
        pairs = (pair for pair in env.imports(Protocol.DLPACK, on=devices) if pair.consumer.name == REFERENCE)
        return every(pairs, where=("company", "alone"))

    return plan


def canary(
    name: str, outcome: Outcome, *devices: Device, needs: Needs = Needs.ANY_MEMORY, seconds: float | None = None
) -> Callable[[Check], Check]:
    """Register a function as a canary that has to end with this outcome on these devices."""
    return invariant(
        f"canary.{name}",
        level=Level.MUST,
        needs=needs,
        cases=_planned(*devices),
        canary=outcome,
        seconds=seconds,
    )


on_host = partial(canary, needs=Needs.HOST)
on_gpu = partial(canary, needs=Needs.GPU)


def _broken(exchange: Exchange, fault: str, check: str) -> None:
    """Run the check of an invariant with a broken reference on both sides."""
    adapter = ReferenceAdapter()
    adapter.exporter_class = all_faults()[fault].exporter
    adapter.importer_class = all_faults()[fault].importer
    catalogue()[check].check(Exchange(exchange.case, Partners(lambda name: adapter)))


@canary("passes", Outcome.PASS, Device.HOST, Device.CUDA)
def test_passes(exchange: Exchange) -> None:
    """The run must report a correct exchange as passed."""
    catalogue()["pointer.same-address"].check(exchange)


@canary("fails", Outcome.FAIL, Device.HOST, Device.CUDA)
def test_fails(exchange: Exchange) -> None:
    """The run must report a consumer that copies where it should share as failed."""
    _broken(exchange, "pointer.CopyInsteadOfShare", "pointer.same-address")


@canary("leaks", Outcome.FAIL, Device.HOST, Device.CUDA)
def test_leaks(exchange: Exchange) -> None:
    """The run must report a consumer that never releases its import as failed."""
    _broken(exchange, "lifetime.NeverReleased", "lifetime.deleter-once")


@canary("refuses", Outcome.REFUSED, Device.HOST, Device.CUDA)
def test_refuses(exchange: Exchange) -> None:
    """The run must report a producer that raises ``BufferError`` as refused."""

    def refuse(*args: Any, **keywords: Any) -> None:
        raise BufferError("by request")

    exchange.take(Offered(refuse, exchange.source().array.__dlpack_device__()), promised="")


@on_host("crashes", Outcome.CRASH, Device.HOST)
def test_crashes(exchange: Exchange) -> None:
    """The run must report a read from address 0 as a crash."""
    ctypes.string_at(0)


@on_host("aborts", Outcome.CRASH, Device.HOST)
def test_aborts(exchange: Exchange) -> None:
    """The run must report ``abort()`` as a crash."""
    os.abort()


@on_host("is-killed", Outcome.CRASH, Device.HOST)
def test_is_killed(exchange: Exchange) -> None:
    """The run must report a process that sends SIGKILL to itself as a crash, although other processes can send that signal too."""
    os.kill(os.getpid(), signal.SIGKILL)


@on_host("exits", Outcome.CRASH, Device.HOST)
def test_exits(exchange: Exchange) -> None:
    """The run must report a process that exits in the middle of a check as a crash, even with exit code 0."""
    os._exit(0)


@on_host("raises-exit", Outcome.INCONCLUSIVE, Device.HOST)
def test_raises_exit(exchange: Exchange) -> None:
    """The run must report an exception that would exit the interpreter as inconclusive, and only end the case."""
    sys.exit("by request")


@on_host("hangs", Outcome.HANG, Device.HOST, seconds=HANG_SECONDS)
def test_hangs(exchange: Exchange) -> None:
    """The run must report an endless wait as a hang."""
    time.sleep(_FOREVER)


@on_host("hangs-with-gil", Outcome.HANG, Device.HOST, seconds=HANG_SECONDS)
def test_hangs_with_gil(exchange: Exchange) -> None:
    """The run must report an endless wait with the GIL held as a hang."""
    ctypes.PyDLL(None).pause()


@on_host("hangs-deaf", Outcome.HANG, Device.HOST, seconds=HANG_SECONDS)
def test_hangs_deaf(exchange: Exchange) -> None:
    """The run must report an endless wait with all signals blocked as a hang."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(_FOREVER)


@on_host("is-poisoned", Outcome.POISONED, Device.HOST)
def test_is_poisoned(exchange: Exchange) -> None:
    """The run must report a case that raises the error of a corrupted CUDA context as poisoned."""
    raise Poisoned("by request")


@canary("floods", Outcome.PASS, Device.HOST, Device.CUDA)
def test_floods(exchange: Exchange) -> None:
    """The run must not be disturbed by a large output on the standard streams."""
    piece = b"canary " * 9362
    for _ in range(_FLOOD_BYTES // len(piece) // 2):
        os.write(1, piece)
        os.write(2, piece)


@on_host("litters", Outcome.PASS, Device.HOST)
def test_litters(exchange: Exchange) -> None:
    """The run must not be disturbed by threads, files, memory and processes that a case leaves behind."""
    _litter.append([os.pipe() for _ in range(_LITTER)])
    _litter.append(bytearray(_FLOOD_BYTES))
    thread = threading.Thread(target=time.sleep, args=(_FOREVER,))
    thread.start()
    _litter.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]))
    if os.fork() == 0:
        while True:
            signal.pause()


_litter: list[object] = []


@on_gpu("reads-nowhere", Outcome.POISONED, Device.CUDA)
def test_reads_nowhere(exchange: Exchange) -> None:
    """The run must report a kernel that writes to an unmapped address as poisoned: the CUDA context is corrupted."""
    from conformance.cuda import context, kernels

    exchange.source()
    with context.using(context.primary()):
        kernels.fill_words(_NO_ADDRESS, 1, 1)
        context.synchronize()


@on_gpu("traps", Outcome.POISONED, Device.CUDA)
def test_traps(exchange: Exchange) -> None:
    """The run must report a kernel that traps as poisoned: the CUDA context is corrupted."""
    from conformance.cuda import context, kernels

    exchange.source()
    with context.using(context.primary()):
        kernels.trap()
        context.synchronize()


@on_gpu("never-ends", Outcome.HANG, Device.CUDA, seconds=GPU_HANG_SECONDS)
def test_never_ends(exchange: Exchange) -> None:
    """The run must report a wait for a kernel that never ends as a hang."""
    from conformance.cuda import context

    with context.using(context.primary()):
        _hold_forever()
        context.synchronize()


@on_gpu("never-ends-with-gil", Outcome.HANG, Device.CUDA, seconds=GPU_HANG_SECONDS)
def test_never_ends_with_gil(exchange: Exchange) -> None:
    """The run must report a wait for a kernel that never ends, with the GIL held, as a hang."""
    from conformance.cuda import context, driver

    with context.using(context.primary()):
        _hold_forever()
        ctypes.PyDLL(driver.loaded_path()).cuCtxSynchronize()


def _hold_forever() -> None:
    """Hold the default stream by a latch that is never released."""
    from conformance.cuda.latch import Latch
    from conformance.cuda.streams import LEGACY

    _litter.append(Latch(LEGACY, _FOREVER))


@on_gpu("out-of-memory", Outcome.INCONCLUSIVE, Device.CUDA)
def test_out_of_memory(exchange: Exchange) -> None:
    """The run must report a check that gets no memory as inconclusive, and must not be disturbed by it."""
    from conformance.cuda import memory

    exchange.source()
    memory.allocate(_TOO_MUCH)
