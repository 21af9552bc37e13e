"""Parts common to many scripts: beginning, end, and the expressions of each library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conformance.checks.catalogue import Case

from ..text import fill

START = '''
«standard»


def undecided(kind, error, where):
    """Whatever was not foreseen says nothing about anybody."""
    traceback.print_exception(kind, error, where)
    sys.stdout.flush()
    os._exit(3)


sys.excepthook = undecided
«guard»
«queues»
try:
    «used»
except Exception as missing:
    print("cannot be run here:", missing)
    sys.exit(2)
versions = {
    "Python": sys.version.split()[0],
    «versions»
}
print(*(f"{name} {version}" for name, version in versions.items()), flush=True)
'''

GUARD = """
begun = mmap.mmap(-1, 1)  # shared by the two processes
child = os.fork()  # what is tried may kill its process, so this one looks on
if child:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        print("expected: the process goes on")
        print("seen:     ended by", signal.Signals(-code).name, "" if begun[0] else "before anything was tried")
    sys.exit(code if code >= 0 else 1 if begun[0] else 3)
"""

BEGIN = "begun[0] = 1"

END = """
print("expected:", «expected»)
print("seen:    ", «seen»)
sys.exit(0 if «right» else 1)
"""


@dataclass(frozen=True)
class Words:
    """How a script names a library: its imports, a statement that fails where the library is unusable, its versions."""

    imports: str
    host: str
    cuda: str
    versions: str


WORDS = {
    "numpy": Words("import numpy", "", "", '"numpy": numpy.__version__'),
    "torch": Words("import torch", "", 'torch.zeros(1, device="cuda")', '"torch": torch.__version__'),
    "jax": Words("import jax", 'jax.config.update("jax_platforms", "cpu")', "", '"jax": jax.__version__'),
    "cupy": Words("import cupy", "", "cupy.zeros(1)", '"cupy": cupy.__version__'),
    "cvcuda": Words("import cvcuda", "", "cvcuda.Stream()", '"cvcuda": cvcuda.__version__'),
    "pycuda": Words(
        "import pycuda.autoprimaryctx  # joins the context that everybody else uses\nimport pycuda.driver\nimport pycuda.gpuarray",
        "", "", '"pycuda": pycuda.VERSION_TEXT',
    ),
    "cuda_python": Words(
        "import cuda.core\nfrom cuda.bindings import driver",
        "with contextlib.suppress(Exception):  # a view asks the driver even about host memory, if there is one\n    driver.cuInit(0)",
        "gpu = cuda.core.Device(0)\ngpu.set_current()",
        '"cuda-core": cuda.core.__version__',
    ),
}  # fmt: skip

DRIVER = Words(
    "",
    "",
    'nvidia = ctypes.CDLL("libcuda.so.1")\ncontext = ctypes.c_void_p()\nassert nvidia.cuInit(0) == 0, "the driver finds no GPU"\n'
    "nvidia.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)\nnvidia.cuCtxSetCurrent(context)",
    "",
)
"""The CUDA driver by ctypes, for the parts that the script does itself."""


_VIEWS = "from cuda.core.utils import StridedMemoryView"
QUEUES = """
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # streams that share a hardware queue wait for each other
"""


def start(
    case: Case,
    *,
    also: Sequence[str] = (),
    standard: Sequence[str] = (),
    driver: bool = False,
    dies: bool = False,
    streams: bool = False,
    views: bool | None = None,
    instead: Mapping[str, Words] | None = None,
) -> str:
    """Return the beginning of a script: imports, the check for unusable libraries (exit code 2), the versions.

    ``also`` are libraries besides the case's own, ``standard`` modules of the standard library. ``driver`` adds the CUDA driver. ``dies`` runs
    the case in a subprocess. ``streams`` adds the helpers for stream order. ``views`` imports CUDA Python's array view class (default: if it is
    the consumer). ``instead`` replaces the expressions of a library.
    """
    known = {**WORDS, **(instead or {})}
    names = [n for n in dict.fromkeys((case.producer, case.consumer, *also)) if n in known]
    words = [known[name] for name in names] + ([DRIVER] if driver else [])
    cuda = case.device.value == "cuda"
    modules = {
        "os",
        "sys",
        "traceback",
        *standard,
        *(("mmap", "signal") if dies else ()),
        *(("ctypes",) if driver else ()),
    }
    if "cuda_python" in names:
        modules.add("contextlib")
    viewed = case.consumer == "cuda_python" if views is None else views
    works = [line for w in words for line in (w.host, w.cuda if cuda or w is DRIVER else "") if line]
    return fill(
        START,
        standard="\n".join(f"import {module}" for module in sorted(modules)),
        guard=GUARD if dies else "",
        queues=QUEUES if streams else "",
        used="\n".join(
            [*(w.imports for w in words if w.imports), *([_VIEWS] if viewed else []), *([""] if works else []), *works]
        ),
        versions="\n".join(f"{w.versions}," for w in words if w.versions),
    )


PEEK = """
def floats_at(address, count):
    \"\"\"What lies there in memory.\"\"\"
    words = (ctypes.c_float * count)()
    «copy»
    return list(words)
"""
_COPIES = {
    "host": "ctypes.memmove(words, address, 4 * count)",
    "cuda": "nvidia.cuMemcpyDtoH_v2(words, ctypes.c_uint64(address), ctypes.c_size_t(4 * count))",
}


def peek(case: Case) -> str:
    """Return a function that reads memory. On CUDA it needs the driver."""
    return fill(PEEK, copy=_COPIES[case.device.value])


def joined(*pieces: str) -> str:
    """Join the parts of a script with the blank lines of PEP 8; empty parts are omitted."""
    lines: list[str] = []
    for piece in pieces:
        block = piece.strip("\n").split("\n")
        if block == [""]:
            continue
        defines = block[0].startswith(("def ", "class ", "@")) or (lines and lines[-1].startswith(" "))
        lines += [*([""] * (2 if defines else 1) if lines else []), *block]
    return "\n".join(lines) + "\n"
