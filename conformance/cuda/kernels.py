"""Two small kernels as PTX, compiled by the driver: fill words, and increment words.

PTX ISA 6.5 for sm_70 is understood by every driver from CUDA 12.2 on and runs on every later GPU.
"""

from __future__ import annotations

import ctypes
from functools import cache

from . import context
from .driver import call

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

PTX = (
    ".version 6.5\n.target sm_70\n.address_size 64\n"
    + _BODY.format(name="fill_words", work=_FILL)
    + _BODY.format(name="add_to_words", work=_INCREMENT)
)
"""Entries ``fill_words`` and ``add_to_words``, both (u64 address, u32 count of 32-bit words, u32 value)."""

BLOCK = 128


def fill_words(address: int, count: int, value: int, stream: int = 1) -> None:
    """Store ``value`` into ``count`` 32-bit words, on a stream, without waiting."""
    _launch("fill_words", address, count, value, stream)


def add_to_words(address: int, count: int, value: int, stream: int = 1) -> None:
    """Add ``value`` (modulo 2**32) to ``count`` 32-bit words, on a stream, without waiting."""
    _launch("add_to_words", address, count, value, stream)


@cache
def function(name: str) -> int:
    """Handle of a kernel, loaded once into the primary context."""
    module, found = ctypes.c_void_p(), ctypes.c_void_p()
    with context.using(context.primary()):
        call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX.encode() + b"\0"))
        call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
    return found.value or 0


def _launch(name: str, address: int, count: int, value: int, stream: int) -> None:
    arguments = (ctypes.c_uint64(address), ctypes.c_uint32(count), ctypes.c_uint32(value))
    pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(a) for a in arguments))
    blocks = max((count + BLOCK - 1) // BLOCK, 1)
    with context.using(context.primary()):
        call(
            "cuLaunchKernel",
            ctypes.c_void_p(function(name)),
            *(blocks, 1, 1, BLOCK, 1, 1, 0),
            ctypes.c_void_p(stream),
            pointers,
            None,
        )
