"""Scripts for a producer's capsule, and for the arguments of ``__dlpack__``."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import layout

from ..text import fill
from . import Readable, template
from .arrays import ADDRESS, made, with_numpy
from .capsules import READER, STRUCTS
from .common import BEGIN, END, joined, start

_PLAIN = layout("c-order")
_CVCUDA = "cvcuda.Tensor((3, 4), cvcuda.Type.F32, rowalign=1)"
_BUFFER = "buffer = gpu.allocate(48, stream=gpu.default_stream)\n"
_VIEW = _BUFFER + 'x = StridedMemoryView.from_buffer(buffer, (3, 4), dtype=numpy.dtype("float32"))'


def _plain(case: Case, dtype: str = "float32") -> str | None:
    """Return statements that make ``x``, a packed array of the producer, as an object with ``__dlpack__``."""
    if case.producer == "cvcuda":
        return f"x = {_CVCUDA}.cuda()" if dtype == "float32" else None
    if case.producer == "cuda_python":
        return _VIEW if dtype == "float32" and case.device.value == "cuda" else None
    expression = made(case.producer, _PLAIN, dtype, case.device.value)
    return expression and f"x = {expression}"


# -- the flag for copies

_FLAGGED = """
«make»
capsule = x.__dlpack__(max_version=(1, 0)«keywords»)
struct = opened(capsule)
if not isinstance(struct, Versioned):
    print("refused: a legacy capsule has no flags")
    sys.exit(3)
copied = struct.tensor.data + struct.tensor.byte_offset != «address»
flagged = bool(struct.flags & 2)  # DLPACK_FLAG_BITMASK_IS_COPIED
"""
_KEYWORDS = {"true": ", copy=True", "default": "", "false": ", copy=False", "to-host": ", dl_device=(1, 0)"}


@template("negotiation.copied-flag")
def copied_flag(case: Case) -> Readable | None:
    """Return the script that compares IS_COPIED with the addresses."""
    make = _plain(case, case.option("dtype"))
    if make is None or case.producer not in ("torch", "numpy", "cupy"):
        return None
    asked = _KEYWORDS[case.option("copy")]
    code = joined(
        start(case, standard=("ctypes",)),
        STRUCTS,
        READER,
        fill(_FLAGGED, make=make, keywords=asked, address=ADDRESS[case.producer].format("x")),
        fill(
            END,
            expected='"IS_COPIED", "set: the capsule holds other memory" if copied else "clear: the memory is shared"',
            seen='"IS_COPIED", "set" if flagged else "clear"',
            right="flagged == copied" + (" and copied" if case.option("copy") == "true" else ""),
        ),
    )
    return Readable(
        f"Exports an array by `__dlpack__(max_version=(1, 0){asked})`, and compares the flag with the addresses.", code
    )


# -- arguments

_TAKEN = """
«make»
try:
    capsule = x.__dlpack__(«argument»)
    seen, accepted = "a capsule", True
except Exception as error:
    seen, accepted = repr(error), False
"""


def _argument(case: Case, argument: str, how: str) -> Readable | None:
    """Return the script for an argument that the producer must accept."""
    make = _plain(case)
    if make is None:
        return None
    code = joined(
        start(case, also=with_numpy(case), views=case.producer == "cuda_python"),
        fill(_TAKEN, make=make, argument=argument),
        fill(END, expected='"a capsule"', seen="seen", right="accepted"),
    )
    return Readable(how, code)


@template("negotiation.device-argument")
def device_argument(case: Case) -> Readable | None:
    """Return the script for the array's own device."""
    if case.option("asked") != "own":
        return None
    return _argument(case, "dl_device=x.__dlpack_device__()", "Asks for a capsule on the device where the array is.")


@template("negotiation.cuda-stream")
def cuda_stream(case: Case) -> Readable | None:
    """Return the script for the one argument that every producer must accept."""
    if case.option("stream") != "none":
        return None
    return _argument(
        case, "stream=None", "Asks for a capsule with `stream=None`, which stands for the legacy default stream."
    )


_SURVIVES = """
«make»
«begin»  # from here on
try:
    capsule = x.__dlpack__(stream=-2)
    seen, refused = "accepted: a capsule", False
except Exception as error:
    seen, refused = repr(error), True
"""


@template("negotiation.negative-stream")
def negative_stream(case: Case) -> Readable | None:
    """Return the script for stream -2, which is invalid."""
    make = _plain(case)
    if make is None:
        return None
    code = joined(
        start(case, also=with_numpy(case), views=case.producer == "cuda_python", dies=True),
        fill(_SURVIVES, make=make, begin=BEGIN),
        fill(END, expected='"an exception"', seen="seen", right="refused"),
    )
    return Readable("Asks for a capsule with `stream=-2`, which names no stream.", code)


# -- pinned memory

_PINNED = """
x = torch.arange(12, dtype=torch.float32).reshape(3, 4).pin_memory()
capsule = x.__dlpack__()
tensor = opened(capsule).tensor
told = tuple(int(part) for part in x.__dlpack_device__())
inside = (tensor.device_type, tensor.device_id)
"""
_NEEDS_GPU = """
if not torch.cuda.is_available():
    print("cannot be run here: memory is pinned for a GPU")
    sys.exit(2)
"""


@template("device.own-memory-kind")
def pinned(case: Case) -> Readable | None:
    """Return the script for PyTorch's pinned memory, which is host memory (DLPack device type 3)."""
    if case.producer != "torch" or case.option("kind") != "pinned":
        return None
    code = joined(
        start(case, standard=("ctypes",)),
        _NEEDS_GPU,
        STRUCTS,
        READER,
        _PINNED,
        fill(
            END,
            expected='"device (3, 0), which is pinned host memory, by __dlpack_device__ and in the capsule"',
            seen='f"{told} by __dlpack_device__, {inside} in the capsule"',
            right="told == inside == (3, 0)",
        ),
    )
    return Readable(
        "Exports pinned memory, and compares the device in the capsule with the one that the tensor tells.", code
    )
