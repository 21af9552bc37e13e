"""Evidence of a crash: the crashing process prints its stacks, and the parent reads the error message and the library's frame from them."""

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
"""Lines before a native stack: that of the suite's handler, and that of faulthandler since Python 3.14."""
_LONGEST = 300
"""Maximum number of characters of a message or a name."""
_SECONDS = 5.0
"""Timeout of the demangler, in seconds."""


def enable() -> None:
    """Install the handlers: when a signal ends this process, it prints its Python stack and then its native stack to descriptor 2.

    The process still ends by the same signal. Handlers that a library installs later take precedence, and may call these.
    """
    faulthandler.disable()  # its handler must be installed last, so that it runs first and chains to ours
    installed = sys.version_info < (3, 14) and crash_handler.install()
    faulthandler.enable(file=2)  # since Python 3.14 it prints the native stack itself
    if installed:
        crash_handler.give_room()


# -- frames


@dataclass(frozen=True)
class Frame:
    """One frame of a native stack: the path of its file, the symbol, and the offset in the symbol or in the file."""

    path: str
    symbol: str = ""
    offset: str = ""

    @property
    def file(self) -> str:
        """File name without its folders, which would show paths of the user's machine."""
        return PurePosixPath(self.path).name

    @property
    def is_library(self) -> bool:
        """Whether the frame is in a library, and not in Python, the C or C++ runtime, or a binding between them."""
        return bool(self.file) and "/lib-dynload/" not in self.path and not _PLUMBING.fullmatch(self.file)

    @property
    def is_driver(self) -> bool:
        """Whether the frame is in the CUDA driver or runtime. Its caller is nearer to the cause."""
        return bool(_DRIVER.match(self.file))

    def told(self) -> str:
        """Return the file, with the function or the offset in it."""
        return f"{self.file or 'no file'}: {self.symbol}{self.offset}".rstrip(" :")


_PLUMBING = re.compile(
    r"(?:lib(?:c|m|dl|rt|pthread|stdc\+\+|c\+\+|c\+\+abi|gcc_s|unwind|ffi|python[\d.]*t?)|ld|ld-linux[\w-]*|linux-vdso)"
    r"(?:-[\w.]+)?\.so[\w.]*|python[\d.]*t?|_ctypes\..*\.so"
)
"""File names of the C and C++ runtimes, also as wheels rename them, and of the interpreter."""
_DRIVER = re.compile(r"lib(?:cuda|cudart|nvidia-[\w-]+)(?:-[\w.]+)?\.so")
_FORMS = (
    re.compile(r"(?P<path>\S.*?)?(?:\((?P<symbol>[^()+]*)(?P<offset>[+-]0x[0-9a-f]+)?\))? ?\[0x[0-9a-f]+\]"),
    re.compile(r"""\s*Binary file ["'](?P<path>.*)["'](?:, at (?P<symbol>\S*?)(?P<offset>[+-]0x[0-9a-f]+))? \[.*\]"""),
    re.compile(r"#\d+\s+(?:0x[0-9a-f]+ in )?(?P<symbol>.+?) \(.*\) from (?P<path>\S+)(?P<offset>)"),
)
"""Formats of a frame: of glibc, of Python 3.14 and of gdb."""


def frame_of(line: str) -> Frame | None:
    """Return the frame of a line; ``None`` if the line has none."""
    for form in _FORMS:
        found = form.fullmatch(line)
        if found:
            return Frame(_known(found["path"]), _known(found["symbol"]), found["offset"] or "")
    return None


def _known(name: str | None) -> str:
    """Return the name; empty if it is a placeholder for a missing one."""
    return "" if name in (None, "??", "<unknown>") else str(name)


def parted(words: str) -> tuple[str, tuple[Frame, ...]]:
    """Split the output of a process into its text and the native stack that it printed, innermost frame first."""
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
    """Return the innermost frame in a library, as file and function. A frame without a symbol also names the nearest caller that has one."""
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
    """Return the demangled name of a function; the symbol itself if ``c++filt`` is not installed."""
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
"""Texts of faulthandler for each signal, which add nothing to the signal."""
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
"""Patterns of the messages with which C++, Python, glibc, ``assert``, CHECK macros and Rust end a process. The first pattern that matches wins."""
_WHAT = re.compile(r"\s*what\(\):\s*(.*)")
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"`()<>,]+/)+(?=[^\s/])")


def message(words: str) -> str:
    """Return why a process ended itself, on one line: the message of ``terminate``, a failed check, the C library or Python."""
    lines = words.splitlines()
    for kind in _MESSAGES:
        for number in reversed(range(len(lines))):
            if kind.fullmatch(lines[number]):
                return base_names(lines[number].strip() + _what(lines[number + 1 :]))[:_LONGEST]
    return ""


def _what(following: list[str]) -> str:
    """Return the first line of an exception's ``what()``, as part of a sentence."""
    found = _WHAT.fullmatch(following[0]) if following else None
    return f": {found[1].strip()}" if found and found[1].strip() else ""


def base_names(text: str) -> str:
    """Return the text with the folders removed from all file paths."""
    return _FOLDERS.sub("", text)


# -- both


def evidence(words: str, stack: str = "", demangled: Callable[[str], str] = demangle) -> dict[str, str]:
    """Return notes for a result from the output of a process and, for a hang, from a debugger's native stack.

    ``terminate`` is why the process ended itself, ``frame`` the innermost frame in a library, and ``native stack`` all frames that it printed.
    """
    said, printed = parted(words)
    notes = {
        "terminate": message(said),
        "frame": in_library(printed or busy(stack), demangled),
        "native stack": "\n".join(frame.told() for frame in printed),
    }
    return {name: text for name, text in notes.items() if text}


def busy(stack: str) -> tuple[Frame, ...]:
    """Return the frames of the thread in which Python runs. gdb lists the first thread last; other threads usually wait for work."""
    for thread in reversed(_threads(stack)):
        if any(frame.symbol.startswith(("_PyEval", "PyEval", "PyObject_", "_PyObject_")) for frame in thread):
            return thread
    return ()


def _threads(stack: str) -> list[tuple[Frame, ...]]:
    parts = re.split(r"^Thread .*$", stack, flags=re.MULTILINE)
    return [tuple(_frames(part)) for part in parts]


def _frames(text: str) -> Iterator[Frame]:
    """Yield the frames of a thread. gdb names no file for a frame in an executable."""
    for line in text.splitlines():
        known = frame_of(line)
        bare = _NO_FILE.match(line)
        if known is not None:
            yield known
        elif bare:
            yield Frame("", bare[1])


_NO_FILE = re.compile(r"#\d+\s+(?:0x[0-9a-f]+ in )?(\S+) \(")
