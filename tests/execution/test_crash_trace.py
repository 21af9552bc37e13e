"""Crash traces: a crashing process prints its stacks and ends by the same signal. The tests use real crashes."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.execution import crash_handler, crash_trace
from conformance.execution.crash_trace import Frame, evidence, frame_of

HANDLED = platform.machine() in crash_handler.MACHINES and sys.platform == "linux"
tells = pytest.mark.skipif(not HANDLED, reason="no handler for this machine")
CODE = """
#include <dlfcn.h>
#include <pthread.h>
#include <stdexcept>
#include <stdlib.h>
#include <unistd.h>

namespace stripes {
struct Array {
  __attribute__((noinline)) static void take(int n) { if (n) throw std::runtime_error("no stripe in /home/somebody/secret/zebra.txt"); }
};
}
extern "C" {
void throws(int n) { stripes::Array::take(n); }
int deep(int n) { volatile char room[4096]; room[n % 4096] = 1; return deep(n + 1) + room[5]; }
void frees(void) { char *p = (char *)malloc(2000); volatile char *q = (char *)malloc(2000); q[0] = 1; free(p); free(p); }
#ifdef __x86_64__
void loses_its_stack(void) { __asm__ volatile("mov $16, %%rbp; mov $16, %%rsp; ud2" :::); }
#endif
}
"""
"""A library with many ways to crash."""
LOADING = """
#include <pthread.h>
#include <unistd.h>
static void *dies(void *nothing) { usleep(200000); *(volatile int *)nothing = 1; return nothing; }
__attribute__((constructor)) static void loaded(void) { pthread_t one; pthread_create(&one, 0, dies, 0); sleep(60); }
"""
"""A library with one thread that crashes while another holds the dynamic linker's lock, for which the handler has to wait."""


@dataclass(frozen=True)
class Dead:
    """A process that has ended; ``status`` is negative for a signal."""

    status: int
    words: str

    @property
    def notes(self) -> dict[str, str]:
        """The notes from its output."""
        return evidence(self.words)


def dead(code: str, how: str = "crash_trace.enable()") -> Dead:
    """Run this code in an interpreter with the handlers installed in this way."""
    head = "import ctypes, faulthandler, os, signal, sys\nfrom conformance.execution import crash_trace\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{head}{how}\n{code}"], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )  # fmt: skip
    return Dead(done.returncode, done.stderr)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A shared library made of :data:`CODE`."""
    return built(tmp_path_factory.mktemp("secret"), "stripes", CODE)


def built(folder: Path, name: str, code: str) -> str:
    """A shared library, where there is a compiler."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source, made = folder / f"{name}.cpp", folder / f"lib{name}.so"
    source.write_text(code)
    subprocess.run(["g++", "-O0", "-w", "-shared", "-fPIC", "-pthread", "-o", made, source], check=True)
    return str(made)


# -- real crashes


@tells
@pytest.mark.parametrize("number", crash_handler.SIGNALS)
def test_each_signal_ends_the_process_as_it_did_before_and_both_stacks_are_told(number: signal.Signals) -> None:
    """The Python stack first. Without the handler there is one stack less, and the same end."""
    kill = f"def somewhere():\n    os.kill(os.getpid(), {int(number)})\nsomewhere()"
    told, plain = dead(kill), dead(kill, "faulthandler.enable(file=2)")
    assert told.status == plain.status == -number
    assert told.words.index("in somewhere") < told.words.index(crash_trace.HEADERS[sys.version_info >= (3, 14)])
    assert "libc" in told.notes["native stack"]
    assert "frame" not in told.notes


@tells
@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("ctypes.string_at(0)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
        ("import threading; threading.Thread(target=lambda: ctypes.string_at(0)).start()", signal.SIGSEGV),
    ],
)
def test_what_lies_in_python_and_c_alone_is_no_librarys_frame(code: str, number: signal.Signals) -> None:
    """There is a stack, but no frame in a library."""
    told = dead(code)
    assert told.status == -number
    assert set(told.notes) == {"native stack"}


@tells
def test_a_c_plus_plus_exception_is_told_with_its_message_and_where_it_was_thrown(library: str) -> None:
    """The message is the library's own, without folders of files."""
    told = dead(f"ctypes.CDLL({library!r}).throws(1)")
    assert told.status == -signal.SIGABRT
    assert told.notes["terminate"] == (
        "terminate called after throwing an instance of 'std::runtime_error': no stripe in zebra.txt"
    )
    name = "stripes::Array::take" if shutil.which("c++filt") else "_ZN7stripes5Array4takeEi"
    assert told.notes["frame"] == f"libstripes.so: {name}"
    assert not any("/" in note for note in told.notes.values())


@tells
@pytest.mark.parametrize("thread", ["{}", "import threading; threading.Thread(target=lambda: {}).start()"])
def test_a_stack_overflow_is_told_where_there_is_another_stack(library: str, thread: str) -> None:
    """The main thread has one for handlers; in any other the signal is all that there is."""
    told = dead(thread.format(f"ctypes.CDLL({library!r}).deep(1)"))
    assert told.status == -signal.SIGSEGV
    if thread == "{}":
        assert told.notes["frame"] == "libstripes.so: deep"


@tells
def test_the_c_librarys_own_complaint_is_told(library: str) -> None:
    """The handler needs no memory of the heap, which is what is broken here."""
    told = dead(f"ctypes.CDLL({library!r}).frees()")
    assert told.status == -signal.SIGABRT
    assert told.notes["terminate"].startswith("double free")
    assert told.notes["frame"] == "libstripes.so: frees"


@tells
@pytest.mark.skipif(platform.machine() != "x86_64", reason="written for x86-64")
def test_a_stack_that_cannot_be_walked_changes_nothing(library: str) -> None:
    """The unwinder itself crashes with another signal: the process still ends by the first."""
    assert dead(f"ctypes.CDLL({library!r}).loses_its_stack()").status == -signal.SIGILL


@tells
def test_a_lock_that_is_never_released_makes_no_hang_of_a_crash(tmp_path: Path) -> None:
    """After some seconds the process ends by its signal, with the stack or without."""
    told = dead(f"ctypes.CDLL({built(tmp_path, 'loading', LOADING)!r})")
    assert told.status == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in told.words


@tells
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_what_pytorch_says_of_negative_strides_is_told() -> None:
    """Some versions end the process, as a case's result has to say in their words; others refuse."""
    told = dead("import numpy, torch\ntorch.from_dlpack(numpy.arange(4.0)[::-1])")
    if told.status != -signal.SIGABRT:
        pytest.skip("this PyTorch refuses them")
    assert told.notes["terminate"].startswith("terminate called after throwing an instance of 'c10::Error': ")
    assert told.notes["frame"].startswith(("libtorch", "libc10"))


@tells
def test_handlers_that_come_later_take_precedence() -> None:
    """A library may handle a signal as it likes."""
    told = dead(
        "signal.signal(signal.SIGABRT, lambda *_: os._exit(7))\nos.kill(os.getpid(), signal.SIGABRT)\nwhile True: pass"
    )
    assert (told.status, told.words) == (7, "")


@tells
def test_handlers_that_were_there_before_are_not_in_the_way() -> None:
    """As where PYTHONFAULTHANDLER is set."""
    told = dead("os.abort()", "faulthandler.enable()\ncrash_trace.enable()")
    assert told.status == -signal.SIGABRT
    assert told.words.count("Fatal Python error") == 1
    assert told.notes["native stack"]


@tells
def test_the_death_of_a_process_that_was_forked_is_its_own() -> None:
    """Its parent crashes later with another signal, and prints its own stack."""
    told = dead("""
child = os.fork()
if not child:
    os.abort()
assert os.waitpid(child, 0)[1] & 127 == signal.SIGABRT
ctypes.string_at(0)
""")
    assert told.status == -signal.SIGSEGV
    assert told.words.count(crash_trace.HEADERS[sys.version_info >= (3, 14)]) == 2


@pytest.mark.parametrize(
    "without", ["platform.machine = lambda: 'riscv64'", "def none(*_, **__):\n    raise OSError\nctypes.CDLL = none"]
)
def test_where_nothing_can_be_installed_the_python_stack_is_told_as_ever(without: str) -> None:
    """Another processor, or no library to call."""
    told = dead(
        "def somewhere():\n    os.abort()\nsomewhere()",
        f"import platform\n{without}\ncrash_trace.enable()",
    )
    assert told.status == -signal.SIGABRT
    assert "in somewhere" in told.words


def test_a_case_that_kills_its_child_has_the_evidence_beside_its_result(
    conformance: Command, tmp_path: Path, library: str
) -> None:
    """The message, the frame, and the stack apart from what was said."""
    path = install(tmp_path / "site", "deadly", take=f"import ctypes; ctypes.CDLL({library!r}).throws(1)")
    case = "pointer.values/reference-deadly/dlpack/host/c-order/float32"
    done = conformance("check", "--between", "deadly", "--case", case, path=path)
    (result,) = done.results
    assert (result["outcome"], result["seen"]) == ("crash", "SIGABRT")
    notes = result["attachments"]
    assert "std::runtime_error" in notes["terminate"]
    assert "in take" in notes["stderr"]
    if HANDLED:
        assert notes["frame"].startswith("libstripes.so: ")
        assert "libstripes.so" in notes["native stack"]
        assert "libstripes.so" not in notes["stderr"]


# -- what is read


GLIBC = """said before
Native stack, innermost frame first:
[0x7fa58c73608b]
/lib/x86_64-linux-gnu/libc.so.6(+0x3c050)[0x7fa58be5a050]
/lib/x86_64-linux-gnu/libc.so.6(gsignal+0x12)[0x7fa58be59fb2]
/opt/me/lib/libstdc++-1a2b3c.so.6.0.29(+0x9d919)[0x7f93e269d919]
/usr/lib/libcuda.so.580.1(cuInit+0x1)[0x7f93e269d919]
said between
/opt/me/torch/lib/libtorch_cpu.so(+0x1067d98)[0x7f93e3a67d98]
/opt/me/torch/lib/libtorch_cpu.so(_ZNK2at11TensorMaker18computeStorageSizeEv+0x10b)[0x7f93e4fca8cb]
/usr/bin/python3.12[0x5f9398]
"""
PYTHON_3_14 = """Current thread's C stack trace (most recent call first):
  Binary file "/usr/lib/libpython3.14.so.1.0", at _Py_DumpStack+0x5f [0x562ca8ccb4d1]
  Binary file "/lib/libc.so.6", at +0x45330 [0x7f0d0c04c330]
  Binary file '<unknown>' [0x7f0d0c04c330]
  Binary file "/opt/me/numpy/_multiarray_umath.cpython-314-x86_64-linux-gnu.so", at array_dealloc+0x12 [0x7f0d0c04c330]
"""
GDB = """Thread 2 (LWP 12):
#0  0x00007f in __futex_wait () from /lib/libc.so.6
#1  0x00007f in blas_thread_server () from /opt/me/libopenblas.so.0
Thread 1 (LWP 11):
#0  0x00007f in __GI___poll (fds=0x7f, nfds=1) at ../sysdeps/poll.c:29
#1  0x00007f in stripes::Array::wait(int) const () from /opt/me/libstripes.so
#2  0x00005f in _PyEval_EvalFrameDefault ()
"""


@pytest.mark.parametrize(
    ("words", "stack", "frame"),
    [
        (GLIBC, "", "libtorch_cpu.so: +0x1067d98, called from _ZNK2at11TensorMaker18computeStorageSizeEv"),
        (PYTHON_3_14, "", "_multiarray_umath.cpython-314-x86_64-linux-gnu.so: array_dealloc"),
        ("", GDB, "libstripes.so: stripes::Array::wait(int) const"),
        ("nothing", "thread 1 python: S (sleeping)", None),
        ("/opt/me/libtorch.so(f+0x1)[0x1]\n", "", None),
    ],
)
def test_the_innermost_frame_of_a_library_is_told(words: str, stack: str, frame: str | None) -> None:
    """Of a stack that the process has printed, else of a debugger's: of the thread that Python runs in there, for others only wait."""
    assert evidence(words, stack, demangled=str).get("frame") == frame


def test_a_driver_is_named_only_if_nobody_called_it() -> None:
    """The caller of the driver is nearer to the cause."""
    driver = Frame("/usr/lib/libcuda.so.1", "cuLaunchKernel")
    assert crash_trace.in_library([driver, Frame("/x/libcupy.so", "launch")]) == "libcupy.so: launch"
    assert crash_trace.in_library([driver, Frame("/lib/libc.so.6")]) == "libcuda.so.1: cuLaunchKernel"


@pytest.mark.parametrize(
    "file",
    [
        "libc.so.6", "libc-2.31.so", "libm.so.6", "ld-linux-x86-64.so.2", "libstdc++.so.6", "libstdc++-9f3c.so.6.0.29", "libgcc_s.so.1",
        "libgcc_s-a04fdf82.so.1", "libpython3.12.so.1.0", "libpython3.14t.so.1.0", "python3.12", "python", "libffi.so.8",
        "_ctypes.cpython-312-x86_64-linux-gnu.so", "libpthread.so.0", "",
    ],
)  # fmt: skip
def test_languages_are_no_libraries_under_test(file: str) -> None:
    """Neither under their own names nor under those that wheels give them."""
    assert not Frame(f"/somewhere/{file}" if file else "").is_library


@pytest.mark.parametrize(
    "file", ["libc10.so", "libcupy.so", "libmkl_core.so", "_C.cpython-312-x86_64-linux-gnu.so", "libcvcuda.so.0"]
)
def test_whatever_else_there_is_is_a_library(file: str) -> None:
    """Names that only begin like those of a language included."""
    assert Frame(f"/somewhere/{file}").is_library


def test_what_was_said_is_told_apart_from_the_stack() -> None:
    """All other output stays, at any position; frames have no folders."""
    said, frames = crash_trace.parted(GLIBC)
    assert said == "said before\nsaid between\n"
    assert frames[-1] == Frame("/usr/bin/python3.12")
    stack = evidence(GLIBC)["native stack"].splitlines()
    assert stack[:3] == ["no file", "libc.so.6: +0x3c050", "libc.so.6: gsignal+0x12"]
    assert not any("/" in line for line in stack)


@pytest.mark.parametrize(
    "line", ["", "words", "array[0x1]x", "f(x) [1]", "Thread 0x00007fa58c652b80 (most recent call first):"]
)
def test_words_are_no_frames(line: str) -> None:
    """Only what ends with an address is one."""
    assert frame_of(line) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("terminate called after throwing an instance of 'int'\nterminate called recursively", "terminate called after throwing an instance of 'int'"),
        ("terminate called without an active exception", "terminate called without an active exception"),
        ("libc++abi: terminating due to uncaught exception", "libc++abi: terminating due to uncaught exception"),
        ("Fatal Python error: PyEval_SaveThread: the GIL is released\nFatal Python error: Aborted", "Fatal Python error: PyEval_SaveThread: the GIL is released"),
        ("Fatal Python error: Segmentation fault", None),
        ("free(): invalid pointer", "free(): invalid pointer"),
        ("malloc_consolidate(): unaligned fastbin chunk", "malloc_consolidate(): unaligned fastbin chunk"),
        ("*** stack smashing detected ***: terminated", "*** stack smashing detected ***: terminated"),
        ("python: /home/me/a.c:3: f: Assertion `x > 0' failed.", "python: a.c:3: f: Assertion `x > 0' failed."),
        ("F1128 12:00:00.1 7 /home/me/x.cc:3] Check failed: a == b (1 vs. 2)", "F1128 12:00:00.1 7 x.cc:3] Check failed: a == b (1 vs. 2)"),
        ("thread 'main' panicked at src/lib.rs:3:5:", "thread 'main' panicked at src/lib.rs:3:5:"),
        ("freezing is done\nall is well", None),
    ],
)  # fmt: skip
def test_why_a_process_ended_itself_is_told_on_one_line(words: str, told: str | None) -> None:
    """The kinds of message that there are, without the folders of files; what a signal says by itself is none."""
    assert evidence(f"before\n{words}\nafter\n").get("terminate") == told


def test_a_long_message_is_cut() -> None:
    """The text of an exception may be a page long."""
    words = "terminate called after throwing an instance of 'X'\n  what():  " + "a" * 5000
    assert len(evidence(words)["terminate"]) == 300
