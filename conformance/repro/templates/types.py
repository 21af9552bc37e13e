"""Element types that arrive as other types, and elements that arrive with other values."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.protocols.strided import packed

from ..text import fill
from . import Readable, template
from .arrays import BY_CAI, BY_DLPACK, with_numpy
from .capsules import allocated, exporter
from .common import END, joined, start

# -- bool that becomes a number

_BOOLS = {
    "reference": "x = Exporter(tensor)",
    "torch": 'x = Shown(torch.tensor([True, False, True], device="cuda"))',
    "cupy": "x = Shown(cupy.array([True, False, True]))",
    "cuda_python": "buffer = gpu.allocate(3, stream=gpu.default_stream)\n"
    "x = Shown(StridedMemoryView.from_buffer(buffer, (3,), dtype=numpy.dtype(bool)))",
}
_TYPED = """
«make»
try:
    y = cvcuda.as_tensor(x)
    seen = y.cuda().__cuda_array_interface__["typestr"]
except Exception as error:
    seen = error
"""


@template("dtype.exchange")
def exchange(case: Case) -> Readable | None:
    """Return the script. CV-CUDA has no boolean elements; the array interface has no letter for CuPy's bfloat16."""
    kind = case.option("dtype")
    if (case.consumer, case.protocol, kind) == ("cvcuda", "dlpack", "bool"):
        return _bool(case)
    if (case.producer, case.consumer, case.protocol, kind) == ("cupy", "cupy", "cai", "bfloat16"):
        return _bfloat(case)
    return None


def _bool(case: Case) -> Readable | None:
    own = case.producer == "reference"
    if case.producer not in _BOOLS:
        return None
    code = joined(
        start(
            case,
            also=with_numpy(case),
            standard=("ctypes",) if own else (),
            driver=own,
            views=case.producer == "cuda_python",
        ),
        exporter("cuda", packed((3,)), content="(ctypes.c_bool * 3)(True, False, True)", itemsize=1, code=6, bits=8)
        if own
        else BY_DLPACK,
        fill(_TYPED, make=_BOOLS[case.producer]),
        fill(
            END,
            expected="\"typestr '|b1', or an exception\"",
            seen='repr(seen), "" if seen == "|b1" or isinstance(seen, Exception) else "is a number"',
            right='seen == "|b1" or isinstance(seen, Exception)',
        ),
    )
    return Readable("Has CV-CUDA import a capsule of boolean elements (type code 6 with 8 bits).", code)


_BFLOAT = """
x = cupy.arange(12).astype(ml_dtypes.bfloat16)
try:
    y = cupy.asarray(Shown(x))
except Exception as error:
    print("refused, as it may be:", repr(error))
    sys.exit(0)
expected, seen = cupy.asnumpy(x).tobytes().hex(), cupy.asnumpy(y).tobytes().hex()
"""
_NEEDS = """
try:
    import ml_dtypes
except ImportError as missing:
    print("cannot be run here:", missing)
    sys.exit(2)
"""


def _bfloat(case: Case) -> Readable:
    code = joined(
        start(case),
        _NEEDS,
        BY_CAI,
        _BFLOAT,
        fill(END, expected="expected", seen='seen or "nothing", y.dtype', right="seen == expected"),
    )
    return Readable("Hands bfloat16 elements from CuPy to CuPy by the dictionary, and compares the bytes.", code)


# -- foreign byte order

_ORDERS = {"float32": ("f4", "f", 1), "int16": ("i2", "h", 1), "uint64": ("u8", "Q", 1), "complex64": ("c8", "f", 2)}
_FOREIGN = """
elements = «elements»
data = struct.pack(">«count»«letter»", *«words»)
«memory»


class Published:
    \"\"\"Device memory of big-endian elements.\"\"\"

    __cuda_array_interface__ = {
        "shape": (4,), "typestr": ">«kind»", "data": (address, False), "strides": None, "version": 3,
    }


try:
    y = torch.as_tensor(Published(), device="cuda")
except Exception as error:
    print("expected: an exception, or the elements\\nseen:    ", repr(error))
    sys.exit(0)
seen = y.cpu().tolist()
"""


@template("dtype.foreign-order")
def foreign_order(case: Case) -> Readable | None:
    """Return the script for big-endian elements with a matching typestr."""
    if case.consumer != "torch" or case.option("dtype") not in _ORDERS:
        return None
    kind, letter, parts = _ORDERS[case.option("dtype")]
    elements = "[1 + 2j, 3 + 4j, 5 + 6j, 7 + 8j]" if parts == 2 else "[1, 2, 3, 4]"
    code = joined(
        start(case, standard=("ctypes", "struct"), driver=True),
        fill(
            _FOREIGN,
            elements=elements,
            count=4 * parts,
            letter=letter,
            words="range(1, 9)" if parts == 2 else "elements",
            memory=allocated("cuda", "(ctypes.c_char * len(data)).from_buffer_copy(data)"),
            kind=kind,
        ),
        fill(END, expected='"an exception, or", elements', seen="seen", right="seen == elements"),
    )
    return Readable("Publishes big-endian elements with a typestr that says so, and has PyTorch read them.", code)


# -- a scalar on its way to the GPU

_SCALAR = """
x = numpy.array(-0.0, dtype="«dtype»")
y = cupy.asnumpy(cupy.asarray(x))
"""


@template("claim.numpy-to-cupy")
def numpy_to_cupy(case: Case) -> Readable | None:
    """Return the script for a negative zero without dimensions."""
    if case.option("layout") != "scalar" or case.option("dtype") not in ("float16", "float32", "float64"):
        return None
    code = joined(
        start(case),
        fill(_SCALAR, dtype=case.option("dtype")),
        fill(
            END,
            expected='x.item(), "bytes", x.tobytes().hex()',
            seen='y.item(), "bytes", y.tobytes().hex()',
            right="y.tobytes() == x.tobytes() and y.dtype == x.dtype and y.shape == x.shape",
        ),
    )
    return Readable("Copies an array without dimensions, which holds negative zero, to the GPU and back.", code)
