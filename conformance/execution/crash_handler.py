"""A signal handler of machine instructions that prints the native stack of a dying process to its standard error.

A handler in Python could not run any more: the interpreter's lock may be held, its memory may be gone. This one runs no Python. It has
glibc write the stack, then gives the signal its default action and raises it again, so that the process ends by the signal by which
it would have ended without. Whatever goes wrong on the way (a second fault, a lock that is never released) ends the process by that
first signal too. The handler's place in the stack is described to the unwinder as compilers do it, by call frame information.

The instructions do not depend on where they lie: what they need stands in a table behind them.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap
import platform
import signal
import struct
import sys
from dataclasses import dataclass
from itertools import accumulate

HEADER = b"Native stack, innermost frame first:\n"
"""What the handler writes before the frames."""
MOST_FRAMES = 48
"""Frames that are told."""
SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""What :mod:`faulthandler` handles."""

_STACK = 256 * 1024
"""Bytes of each of two stacks: that of signal handlers, and that on which the unwinder works."""
_PAGE = mmap.PAGESIZE
_ENTRY = 32
"""Byte at which the handler begins. Before it stands a function that only calls ``backtrace``, to try the unwinder."""

_X86_64 = bytes.fromhex(
    # rehearse(frames, most)
    "55"              # push rbp
    "48 89 e5"        # mov  rbp, rsp
    "48 8b 05 ed000000"  # mov  rax, [backtrace]
    "ff d0"           # call rax
    "5d"              # pop  rbp
    "c3"              # ret
    "90909090 90909090 90909090 90909090 90"
    # handle(signal)
    "55"              # push rbp
    "48 89 e5"        # mov  rbp, rsp
    "53"              # push rbx
    "41 54"           # push r12
    "89 fb"           # mov  ebx, edi
    "4c 8b 25 90000000"  # mov  r12, [first]
    "31 c0"           # xor  eax, eax
    "f0 41 0f b1 1c 24"  # lock cmpxchg [r12], ebx     the first signal is kept
    "75 65"           # jne  end                          and only that one is told
    "48 8b 25 97000000"  # mov  rsp, [stack]
    "bf 0e000000"     # mov  edi, SIGALRM
    "48 8d 35 d3ffffff"  # lea  rsi, handle
    "ff 15 b5000000"  # call [signal]
    "bf 05000000"     # mov  edi, 5                       seconds that the stack may take
    "ff 15 ba000000"  # call [alarm]
    "bf 02000000"     # mov  edi, 2
    "48 8b 35 76000000"  # mov  rsi, [header]
    "48 8b 15 77000000"  # mov  rdx, [header's length]
    "ff 15 79000000"  # call [write]
    "48 8b 3d 4a000000"  # mov  rdi, [frames]
    "48 8b 35 4b000000"  # mov  rsi, [most]
    "ff 15 6d000000"  # call [backtrace]
    "48 8b 3d 36000000"  # mov  rdi, [frames]
    "89 c6"           # mov  esi, eax
    "ba 02000000"     # mov  edx, 2
    "ff 15 61000000"  # call [backtrace_symbols_fd]
    "41 8b 1c 24"     # end: mov ebx, [r12]
    "89 df"           # mov  edi, ebx
    "31 f6"           # xor  esi, esi
    "ff 15 5b000000"  # call [signal]
    "89 df"           # mov  edi, ebx
    "ff 15 5b000000"  # call [raise]
    "48 8d 65 f0"     # lea  rsp, [rbp - 16]
    "41 5c"           # pop  r12
    "5b"              # pop  rbx
    "5d"              # pop  rbp
    "c3"              # ret
    "66 90"
)  # fmt: skip
_AARCH64 = struct.pack(
    "<54I",
    # rehearse(frames, most)
    0xA9BD7BFD,  # stp  x29, x30, [sp, #-48]!
    0x910003FD,  # mov  x29, sp
    0x58000849,  # ldr  x9, backtrace
    0xD63F0120,  # blr  x9
    0xA8C37BFD,  # ldp  x29, x30, [sp], #48
    0xD65F03C0,  # ret
    0xD503201F,  # nop
    0xD503201F,  # nop
    # handle(signal)
    0xA9BD7BFD,  # stp  x29, x30, [sp, #-48]!
    0x910003FD,  # mov  x29, sp
    0xA90153F3,  # stp  x19, x20, [sp, #16]
    0x2A0003F3,  # mov  w19, w0
    0x58000554,  # ldr  x20, first
    0x885FFE89,  # ldaxr w9, [x20]           the first signal is kept
    0x35000349,  # cbnz w9, end              and only that one is told
    0x880AFE93,  # stlxr w10, w19, [x20]
    0x35FFFFAA,  # cbnz w10, ldaxr
    0x58000569,  # ldr  x9, stack
    0x9100013F,  # mov  sp, x9
    0x528001C0,  # mov  w0, #SIGALRM
    0x10FFFE81,  # adr  x1, handle
    0x58000669,  # ldr  x9, signal
    0xD63F0120,  # blr  x9
    0x528000A0,  # mov  w0, #5               seconds that the stack may take
    0x58000689,  # ldr  x9, alarm
    0xD63F0120,  # blr  x9
    0x52800040,  # mov  w0, #2
    0x58000461,  # ldr  x1, header
    0x58000482,  # ldr  x2, header's length
    0x580004A9,  # ldr  x9, write
    0xD63F0120,  # blr  x9
    0x58000320,  # ldr  x0, frames
    0x58000341,  # ldr  x1, most
    0x58000469,  # ldr  x9, backtrace
    0xD63F0120,  # blr  x9
    0x2A0003E1,  # mov  w1, w0
    0x58000280,  # ldr  x0, frames
    0x52800042,  # mov  w2, #2
    0x58000409,  # ldr  x9, backtrace_symbols_fd
    0xD63F0120,  # blr  x9
    0xB9400293,  # end: ldr w19, [x20]
    0x2A1303E0,  # mov  w0, w19
    0xD2800001,  # mov  x1, #0
    0x580003A9,  # ldr  x9, signal
    0xD63F0120,  # blr  x9
    0x2A1303E0,  # mov  w0, w19
    0x58000389,  # ldr  x9, raise
    0xD63F0120,  # blr  x9
    0x910003BF,  # mov  sp, x29
    0xA94153F3,  # ldp  x19, x20, [sp, #16]
    0xA8C37BFD,  # ldp  x29, x30, [sp], #48
    0xD65F03C0,  # ret
    0xD503201F,  # nop
    0xD503201F,  # nop
)
