"""Small PTX kernels that the driver compiles: fill words, increment words, copy words, store an address, hold a stream, and trap.

Every driver from CUDA 12.2 on accepts PTX ISA 6.5 for sm_70, and every later GPU runs it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from . import context
from .driver import call
from .streams import PER_THREAD, stream_context

_BODY = """
.visible .entry {name}(.param .u64 address, .param .u32 count, .param .u32 value)
{{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [address];
    ld.param.u32 %r1, [count];
    ld.param.u32 %r2, [value];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r1;
    @%p1 bra DONE_{name};
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r6, 4;
    add.s64 %rd2, %rd2, %rd3;
{work}
DONE_{name}:
    ret;
}}
"""
_FILL = "    st.global.u32 [%rd2], %r2;"
_INCREMENT = "    ld.global.u32 %r7, [%rd2];\n    add.u32 %r7, %r7, %r2;\n    st.global.u32 [%rd2], %r7;"

_COPY = """
.visible .entry copy_words(.param .u64 target, .param .u64 source, .param .u32 count)
{
    .reg .pred %p<2>;
    .reg .b32 %r<7>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [target];
    ld.param.u64 %rd2, [source];
    ld.param.u32 %r1, [count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE_copy_words;
    mul.wide.u32 %rd3, %r5, 4;
    cvta.to.global.u64 %rd4, %rd2;
    add.s64 %rd4, %rd4, %rd3;
    ld.global.u32 %r6, [%rd4];
    cvta.to.global.u64 %rd5, %rd1;
    add.s64 %rd5, %rd5, %rd3;
    st.global.u32 [%rd5], %r6;
DONE_copy_words:
    ret;
}
"""

_ADDRESS = """
.visible .entry store_address(.param .u64 target, .param .u64 address)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [target];
    ld.param.u64 %rd2, [address];
    cvta.to.global.u64 %rd3, %rd1;
    st.global.u64 [%rd3], %rd2;
    ret;
}
"""

_HOLD = """
.visible .entry hold(.param .u64 slot, .param .u64 limit)
{
    .reg .pred %p<3>;
    .reg .b32 %r<3>;
    .reg .b64 %rd<7>;
    ld.param.u64 %rd1, [slot];
    ld.param.u64 %rd2, [limit];
    cvta.to.global.u64 %rd3, %rd1;
    mov.u64 %rd4, %globaltimer;
    mov.u32 %r2, 1;
    st.volatile.global.u32 [%rd3+4], %r2;
POLL:
    ld.volatile.global.u32 %r1, [%rd3];
    setp.ne.u32 %p1, %r1, 0;
    mov.u32 %r2, 2;
    @%p1 bra END;
    mov.u64 %rd5, %globaltimer;
    sub.u64 %rd6, %rd5, %rd4;
    setp.gt.u64 %p2, %rd6, %rd2;
    mov.u32 %r2, 3;
    @%p2 bra END;
    nanosleep.u32 500;
    bra POLL;
END:
    st.volatile.global.u32 [%rd3+4], %r2;
    ret;
}
"""

_TRAP = """
.visible .entry trap_now()
{
    trap;
    ret;
}
"""

PTX = (
    ".version 6.5\n.target sm_70\n.address_size 64\n"
    + _BODY.format(name="fill_words", work=_FILL)
    + _BODY.format(name="add_to_words", work=_INCREMENT)
    + _COPY
    + _ADDRESS
    + _HOLD
    + _TRAP
)
"""The entries ``fill_words`` and ``add_to_words``, both (u64 address, u32 count of 32-bit words, u32 value), ``copy_words`` (u64 target,
u64 source, u32 count of 32-bit words), ``store_address`` (u64 target, u64 address), ``hold``, and ``trap_now``.

``store_address`` stores the address that it is given, and does not access the memory there.
``hold`` (u64 slot, u64 nanoseconds) runs until the first word of the slot is not 0, or until the time by the device's clock is over. The
second word reports its state: 1 holding, 2 released, 3 timed out.
"""

BLOCK = 128


def fill_words(address: int, count: int, value: int, stream: int = 1, ordinal: int = 0) -> None:
    """Store ``value`` into ``count`` 32-bit words on a stream, without waiting. A default stream is that of ``ordinal``."""
    _launch_on_words("fill_words", address, count, value, stream, ordinal)


def add_to_words(address: int, count: int, value: int, stream: int = 1) -> None:
    """Add ``value`` (modulo 2**32) to ``count`` 32-bit words on a stream, without waiting."""
    _launch_on_words("add_to_words", address, count, value, stream)


def hold(slot: int, nanoseconds: int, stream: int, ordinal: int = 0) -> None:
    """Make later work of a stream wait for the slot, without waiting here. A default stream is that of ``ordinal``."""
    _launch("hold", (ctypes.c_uint64(slot), ctypes.c_uint64(nanoseconds)), 1, 1, stream, ordinal)


def trap(stream: int = 1, ordinal: int = 0) -> None:
    """Trap on the device, on a stream, without waiting. This corrupts the CUDA context (sticky error)."""
    _launch("trap_now", (), 1, 1, stream, ordinal)


@cache
def function(name: str, owner: int) -> int:
    """Return the handle of a kernel, which is loaded once into this context."""
    found = ctypes.c_void_p()
    call("cuModuleGetFunction", ctypes.byref(found), ctypes.c_void_p(_module(owner)), name.encode())
    return found.value or 0


@cache
def _module(owner: int) -> int:
    module = ctypes.c_void_p()
    with context.using(owner):
        call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX.encode() + b"\0"))
    return module.value or 0


def _launch_on_words(name: str, address: int, count: int, value: int, stream: int, ordinal: int = 0) -> None:
    arguments = (ctypes.c_uint64(address), ctypes.c_uint32(count), ctypes.c_uint32(value))
    _launch(name, arguments, max((count + BLOCK - 1) // BLOCK, 1), BLOCK, stream, ordinal)


def _launch(name: str, arguments: tuple[Any, ...], blocks: int, threads: int, stream: int, ordinal: int) -> None:
    """Launch in the stream's own context. Default streams belong to the GPU's primary context."""
    pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
    owner = stream_context(stream) if stream > PER_THREAD else context.primary(ordinal)
    with context.using(owner):
        call(
            "cuLaunchKernel",
            ctypes.c_void_p(function(name, owner)),
            *(blocks, 1, 1, threads, 1, 1, 0),
            ctypes.c_void_p(stream),
            pointers,
            None,
        )
