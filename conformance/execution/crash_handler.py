"""Signal handler in machine code that prints the native stack of a crashing process to its standard error.

A handler in Python cannot run any more: a thread may hold the GIL, or the interpreter's memory may be corrupted. This handler runs no
Python. It calls glibc to print the stack, restores the signal's default action, and raises the signal again. So the process ends by the same
signal as without the handler. A second fault, or a lock that is never released, also ends the process by that first signal: an alarm of five
seconds limits the handler.

The code is position independent: a table behind it has all addresses. Call frame information, as compilers emit it, lets the unwinder walk
through the handler.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import struct
import sys
from dataclasses import dataclass

HEADER = b"Native stack, innermost frame first:\n"
"""Line that the handler prints before the frames, which follow one a line."""
SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""Signals with a handler: the same as those of :mod:`faulthandler`."""
MOST = 48
"""Maximum number of frames that the handler prints."""

_ENTRY = 32
"""Offset of the handler, in bytes. Before it is ``rehearse``, a function that only calls ``backtrace`` to test the unwinder."""
_STACK = 256 * 1024
"""Size of each of two stacks, in bytes: the alternate signal stack, and the stack for the unwinder."""
_ON_STACK = 0x08000000
_NO_DEFER = 0x40000000
_MASK = 128
"""Size of glibc's ``sigset_t``, in bytes."""

_X86_64 = bytes.fromhex(
    # rehearse(frames, most)
    "55"                          # push rbp
    "48 89 e5"                    # mov  rbp, rsp
    "48 8b 05 ed000000"           # mov  rax, [backtrace]
    "ff d0"                       # call rax
    "5d"                          # pop  rbp
    "c3"                          # ret
    "90909090 90909090 90909090 90909090 90"
    # handle(signal)
    "55"                          # push rbp
    "48 89 e5"                    # mov  rbp, rsp
    "53"                          # push rbx
    "41 54"                       # push r12
    "89 fb"                       # mov  ebx, edi
    "4c 8b 25 90000000"           # mov  r12, [first]
    "31 c0"                       # xor  eax, eax
    "f0 41 0f b1 1c 24"           # lock cmpxchg [r12], ebx; the first signal is kept,
    "75 65"                       # jne  end; and only that one is told
    "48 8b 25 97000000"           # mov  rsp, [stack]
    "bf 0e000000"                 # mov  edi, SIGALRM
    "48 8d 35 d3ffffff"           # lea  rsi, handle
    "ff 15 b5000000"              # call [signal]
    "bf 05000000"                 # mov  edi, 5; seconds that the stack may take
    "ff 15 ba000000"              # call [alarm]
    "bf 02000000"                 # mov  edi, 2
    "48 8b 35 76000000"           # mov  rsi, [header]
    "48 8b 15 77000000"           # mov  rdx, [header's length]
    "ff 15 79000000"              # call [write]
    "48 8b 3d 4a000000"           # mov  rdi, [frames]
    "48 8b 35 4b000000"           # mov  rsi, [most]
    "ff 15 6d000000"              # call [backtrace]
    "48 8b 3d 36000000"           # mov  rdi, [frames]
    "89 c6"                       # mov  esi, eax
    "ba 02000000"                 # mov  edx, 2
    "ff 15 61000000"              # call [backtrace_symbols_fd]
    "41 8b 1c 24"                 # end: mov ebx, [r12]
    "89 df"                       # mov  edi, ebx
    "31 f6"                       # xor  esi, esi
    "ff 15 5b000000"              # call [signal]
    "89 df"                       # mov  edi, ebx
    "ff 15 5b000000"              # call [raise]
    "48 8d 65 f0"                 # lea  rsp, [rbp - 16]
    "41 5c"                       # pop  r12
    "5b"                          # pop  rbx
    "5d"                          # pop  rbp
    "c3"                          # ret
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
    0x885FFE89,  # ldaxr w9, [x20]; the first signal is kept,
    0x35000349,  # cbnz w9, end; and only that one is told
    0x880AFE93,  # stlxr w10, w19, [x20]
    0x35FFFFAA,  # cbnz w10, ldaxr
    0x58000569,  # ldr  x9, stack
    0x9100013F,  # mov  sp, x9
    0x528001C0,  # mov  w0, #SIGALRM
    0x10FFFE81,  # adr  x1, handle
    0x58000669,  # ldr  x9, signal
    0xD63F0120,  # blr  x9
    0x528000A0,  # mov  w0, #5; seconds that the stack may take
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


@dataclass(frozen=True)
class Machine:
    """Machine code of a processor, and the facts that its call frame information needs, in the terms of DWARF.

    ``frame`` is the frame register, and ``back`` the column of the return address. ``size`` is the size of a frame in bytes, from the frame register
    up. ``saved`` are the slots of the frame register and the return address, in words of 8 bytes from the upper end.
    """

    code: bytes
    frame: int
    back: int
    size: int
    saved: tuple[int, int]


MACHINES = {
    "x86_64": Machine(_X86_64, frame=6, back=16, size=16, saved=(2, 1)),
    "aarch64": Machine(_AARCH64, frame=29, back=30, size=48, saved=(6, 5)),
}


def install() -> bool:
    """Install the handler for :data:`SIGNALS` in place of any other. Return whether that worked.

    It fails on another processor or C library, and where memory cannot be made executable.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None or sys.platform != "linux" or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        entry = _entry(machine, ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libgcc_s.so.1"))
    except Exception:
        return False  # the process works without the handler
    return entry is not None and all(_handled(number, entry) for number in SIGNALS)


def give_room() -> None:
    """Set an alternate signal stack with enough room for this thread: the one of :mod:`faulthandler` fits only its own handler."""
    stack = _memory(_STACK)
    wanted = struct.pack("=QiiQ", _address(stack), 0, 0, _STACK)
    ctypes.CDLL(None).sigaltstack(wanted, None)


def _entry(machine: Machine, libc: ctypes.CDLL, libgcc: ctypes.CDLL) -> int | None:
    """Return the address of the handler; ``None`` if the unwinder cannot walk through it."""
    code, data = _memory(mmap.PAGESIZE), _memory(mmap.PAGESIZE + _STACK)
    start, first = _address(code), _address(data)
    frames, header, unwinding, stack = first + 64, first + 1024, first + 2048, first + mmap.PAGESIZE + _STACK
    called = (
        _address_of(libc, name) for name in ("write", "backtrace", "backtrace_symbols_fd", "signal", "raise", "alarm")
    )
    table = (first, frames, MOST, stack, header, len(HEADER), *called)
    code.write(machine.code + struct.pack(f"={len(table)}Q", *table))
    for place, content in ((header, HEADER), (unwinding, call_frames(machine, start, len(machine.code)))):
        data[place - first : place - first + len(content)] = content
    if libc.mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    libgcc["__register_frame"](ctypes.c_void_p(unwinding))
    rehearse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(start)
    return start + _ENTRY if rehearse(frames, MOST) > _OURS else None


_OURS = 2
"""Number of frames that the unwinder finds even if it cannot leave the handler."""


def call_frames(machine: Machine, start: int, size: int) -> bytes:
    """Return call frame information (``.eh_frame``) for this code, valid after the prologues: one record covers all of it."""
    rules = (
        *(_DEFINE_FRAME, machine.frame, machine.size),
        *(_SAVED | machine.frame, machine.saved[0]),
        *(_SAVED | machine.back, machine.saved[1]),
    )
    common = _record(struct.pack("=IBBBBB", 0, 1, 0, 1, _MINUS_8, machine.back) + bytes(rules))
    return common + _record(struct.pack("=IQQ", len(common) + 4, start, size)) + bytes(4)


_DEFINE_FRAME, _SAVED, _MINUS_8 = 0x0C, 0x80, 0x78
"""Opcodes of DWARF: define the frame address by register and offset; a register is saved at an offset; the offset unit is -8 bytes."""


def _record(content: bytes) -> bytes:
    """Return a record with its length in front, padded with no-operation opcodes."""
    filled = content + bytes(-(len(content) + 4) % 8)
    return struct.pack("=I", len(filled)) + filled


def _memory(nbytes: int) -> mmap.mmap:
    """Return private memory that lives as long as the process. A forked process gets its own copy."""
    made = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _kept.append(made)
    return made


_kept: list[mmap.mmap] = []


def _handled(number: int, entry: int) -> bool:
    """Call ``sigaction`` with glibc's struct: the handler, a mask, the flags, and a field that glibc fills in."""
    wanted = struct.pack(f"=Q{_MASK}xi4xQ", entry, _ON_STACK | _NO_DEFER, 0)
    return not ctypes.CDLL(None).sigaction(int(number), wanted, None)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _address_of(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
