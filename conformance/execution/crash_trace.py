"""Evidence of a death: a dying process prints its stacks, and from its last words the message and the library's own frame are read."""

from __future__ import annotations

import faulthandler
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from . import crash_handler

HEADERS = (crash_handler.HEADER.decode().strip(), "Current thread's C stack trace (most recent call first):")
"""The lines before a native stack: ours, and that of faulthandler itself since Python 3.14."""
_LONGEST = 300
"""Characters of a message or a name that are told."""
_SECONDS = 5.0
"""What a demangler may take."""


def enable() -> None:
    """When a signal ends this process, it prints its Python stack and then its native one to descriptor 2.

    It ends by the same signal as without. Handlers that a library installs later take precedence, and may call these.
    """
    faulthandler.disable()  # else what is installed next would come before it
    installed = sys.version_info < (3, 14) and crash_handler.install()
    faulthandler.enable(file=2)  # from Python 3.14 on with the native stack
    if installed:
        crash_handler.give_room()


# -- frames


@dataclass(frozen=True)
class Frame:
    """One call on a native stack: the path of its file, its function as the file names it, and where in that, or in the file, it is."""

    path: str
    symbol: str = ""
    offset: str = ""

    @property
    def file(self) -> str:
        """The file without its folders: where somebody's files lie is nobody's business."""
        return PurePosixPath(self.path).name

    @property
    def is_library(self) -> bool:
        """Whether it lies in a library, and not in Python, C, C++ or what calls from one to the other."""
        return bool(self.file) and "/lib-dynload/" not in self.path and not _PLUMBING.fullmatch(self.file)

    @property
    def is_driver(self) -> bool:
        """Whether it lies in the CUDA driver or runtime: whoever called it is nearer to the cause."""
        return bool(_DRIVER.match(self.file))

    def told(self) -> str:
        """The file, and the function in it or the place."""
        return f"{self.file or 'no file'}: {self.symbol}{self.offset}".rstrip(" :")


_PLUMBING = re.compile(
    r"(?:lib(?:c|m|dl|rt|pthread|stdc\+\+|c\+\+|c\+\+abi|gcc_s|unwind|ffi|python[\d.]*t?)|ld|ld-linux[\w-]*|linux-vdso)"
    r"(?:-[\w.]+)?\.so[\w.]*|python[\d.]*t?|_ctypes\..*\.so"
)
"""Files of the C and C++ libraries, also under the names that wheels give them, and of the interpreter."""
_DRIVER = re.compile(r"lib(?:cuda|cudart|nvidia-[\w-]+)(?:-[\w.]+)?\.so")
_FORMS = (
    re.compile(r"(?P<path>\S.*?)?(?:\((?P<symbol>[^()+]*)(?P<offset>[+-]0x[0-9a-f]+)?\))? ?\[0x[0-9a-f]+\]"),
    re.compile(r"""\s*Binary file ["'](?P<path>.*)["'](?:, at (?P<symbol>\S*?)(?P<offset>[+-]0x[0-9a-f]+))? \[.*\]"""),
    re.compile(r"#\d+\s+(?:0x[0-9a-f]+ in )?(?P<symbol>.+?) \(.*\) from (?P<path>\S+)(?P<offset>)"),
)
"""A frame as glibc writes it, as Python 3.14 does, and as gdb does."""


def frame_of(line: str) -> Frame | None:
    """The frame that a line tells of."""
    for form in _FORMS:
        found = form.fullmatch(line)
        if found:
            return Frame(_known(found["path"]), _known(found["symbol"]), found["offset"] or "")
    return None


def _known(name: str | None) -> str:
    """A name, unless it only says that there is none."""
    return "" if name in (None, "??", "<unknown>") else str(name)


def parted(words: str) -> tuple[str, tuple[Frame, ...]]:
    """What a process has said, and the native stack that it printed, innermost frame first."""
    said: list[str] = []
    frames: list[Frame] = []
    is_stack = False
    for line in words.splitlines(keepends=True):
        if line.strip() in HEADERS:
            is_stack = True
            continue
        frame = frame_of(line.rstrip("\n")) if is_stack else None
        if frame is None:
            said.append(line)
        else:
            frames.append(frame)
    return "".join(said), tuple(frames)


def in_library(frames: Iterable[Frame], demangled: Callable[[str], str] = str) -> str:
    """The innermost frame that lies in a library, told by file and function; a function without a name by the first caller with one."""
    inside = [frame for frame in frames if frame.is_library]
    inside = [frame for frame in inside if not frame.is_driver] or inside
    if not inside:
        return ""
    first = inside[0]
    if first.symbol:
        return f"{first.file}: {demangled(first.symbol)[:_LONGEST]}"
    caller = next((frame.symbol for frame in inside if frame.symbol and frame.file == first.file), "")
    return first.told() + (f", called from {demangled(caller)[:_LONGEST]}" if caller else "")


def demangle(symbol: str) -> str:
    """The function's name in its language, by ``c++filt`` where there is one."""
    tool = shutil.which("c++filt")
    if tool is None or not symbol.startswith(("_Z", "__Z", "_R")):
        return symbol
    try:
        done = subprocess.run(
            [tool, "-p", symbol], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return symbol
    return done.stdout.strip() or symbol


# -- messages

_BY_SIGNAL = "Segmentation fault|Aborted|Bus error|Illegal instruction|Floating[- ]point exception"
"""What faulthandler says of each signal: no more than the signal does."""
_MESSAGES = tuple(
    re.compile(pattern)
    for pattern in (
        r"terminate called after .*",
        r"terminate called .*|pure virtual method called|libc\+\+abi: .*",
        rf"Fatal Python error: (?!(?:{_BY_SIGNAL})$).*",
        r"(?:double free|corrupted |free\(\): |malloc\w*\(\): |realloc\(\): |munmap_chunk\(\): ).*|\*\*\* .* \*\*\*.*|Fatal glibc error: .*",
        r".*Assertion [`'].*' failed.*",
        r".*\bC(?:heck|HECK) failed\b.*|F\d{4} \d\d:\d\d:\d\d.*",
        r"thread '.*' .*panicked at .*|fatal runtime error: .*",
    )
)
"""How C++, Python, glibc, ``assert``, CHECK macros and Rust say why they end a process; the first kind that is found is told."""
_WHAT = re.compile(r"\s*what\(\):\s*(.*)")
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"`()<>,]+/)+(?=[^\s/])")


def message(words: str) -> str:
    """Why a process ended itself, on one line: the message of ``terminate``, of a failed check, of the C library or of Python."""
    lines = words.splitlines()
    for kind in _MESSAGES:
        for number in reversed(range(len(lines))):
            if kind.fullmatch(lines[number]):
                return base_names(lines[number].strip() + _what(lines[number + 1 :]))[:_LONGEST]
    return ""


def _what(following: list[str]) -> str:
    """The first line of what an exception says of itself, as part of a sentence."""
    found = _WHAT.fullmatch(following[0]) if following else None
    return f": {found[1].strip()}" if found and found[1].strip() else ""


def base_names(text: str) -> str:
    """The text with files named without their folders."""
    return _FOLDERS.sub("", text)


# -- both


def evidence(words: str, stack: str = "", demangled: Callable[[str], str] = demangle) -> dict[str, str]:
    """Notes for a result, of the last words of a process and, if it was still there, its native stack by a debugger.

    ``terminate`` is why it ended itself, ``frame`` the innermost frame in a library, ``native stack`` all frames that it printed.
    """
    said, printed = parted(words)
    notes = {
        "terminate": message(said),
        "frame": in_library(printed or busy(stack), demangled),
        "native stack": "\n".join(frame.told() for frame in printed),
    }
    return {name: text for name, text in notes.items() if text}


def busy(stack: str) -> tuple[Frame, ...]:
    """Of the threads in a debugger's stack, the frames of the one that Python runs in: others only wait for work. The first one is last."""
    for thread in reversed(_threads(stack)):
        if any(frame.symbol.startswith(("_PyEval", "PyEval", "PyObject_", "_PyObject_")) for frame in thread):
            return thread
    return ()


def _threads(stack: str) -> list[tuple[Frame, ...]]:
    parts = re.split(r"^Thread .*$", stack, flags=re.MULTILINE)
    return [tuple(_frames(part)) for part in parts]


def _frames(text: str) -> Iterator[Frame]:
    """Frames in executables, which gdb does not name, have no file."""
    for line in text.splitlines():
        known = frame_of(line)
        bare = _NO_FILE.match(line)
        if known is not None:
            yield known
        elif bare:
            yield Frame("", bare[1])


_NO_FILE = re.compile(r"#\d+\s+(?:0x[0-9a-f]+ in )?(\S+) \(")
