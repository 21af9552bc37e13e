"""Tensors whose elements differ from their memory, but are exported as that memory: lazy, symbolic, without storage."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .capsules import READER, STRUCTS
from .common import END, joined, peek, start


@dataclass(frozen=True)
class _State:
    """How the tensor is made and exported, and its float32 words; ``None`` if it has no elements."""

    told: str
    code: str
    elements: list[float] | None


def _made(told: str, expression: str, elements: list[float] | None) -> _State:
    return _State(told, f"x = {expression}\nseen = exported(x)", elements)


STATES = {
    "requires-grad": _made(
        "requires a gradient", 'torch.tensor([1.0, 2.0, 3.0], device="«place»", requires_grad=True)', [1.0, 2.0, 3.0]
    ),
    "graph-node": _made(
        "is computed of one that requires a gradient",
        'torch.tensor([1.0, 2.0, 3.0], device="«place»", requires_grad=True) * 2',
        [2.0, 4.0, 6.0],
    ),
    "conjugate": _made(
        "is conjugated lazily", 'torch.tensor([1 + 2j, 3 - 4j], device="«place»").conj()', [1.0, -2.0, 3.0, 4.0]
    ),
    "negative": _made(
        "is negated lazily", 'torch._neg_view(torch.tensor([1.0, 2.0, 3.0], device="«place»"))', [-1.0, -2.0, -3.0]
    ),
    "conjugate-imaginary": _made(
        "is the imaginary part of one that is conjugated lazily",
        'torch.tensor([1 + 2j, 3 - 4j], device="«place»").conj().imag',
        [-2.0, 4.0],
    ),
    "zero": _made("is all zeros without memory", 'torch._efficientzerotensor((3,), device="«place»")', [0.0, 0.0, 0.0]),
    "fake": _State(
        "is made in FakeTensorMode and has no memory",
        "from torch._subclasses.fake_tensor import FakeTensorMode\n\nwith FakeTensorMode():\n"
        '    seen = exported(torch.ones(3, device="«place»"))',
        None,
    ),
    "functional": _made(
        "is wrapped for functionalisation",
        'torch._to_functional_tensor(torch.tensor([1.0, 2.0, 3.0], device="«place»"))',
        [1.0, 2.0, 3.0],
    ),
    "wrapper": _State(
        "is of a wrapper subclass and has no memory",
        "class Wrapper(torch.Tensor):\n    @classmethod\n    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):\n"
        '        raise NotImplementedError(f"{function} of a tensor without storage")\n\n\n'
        'x = torch.Tensor._make_wrapper_subclass(Wrapper, (3,), dtype=torch.float32, device="«place»")\nseen = exported(x)',
        None,
    ),
    "storage-freed": _State(
        "has given its storage back",
        'x = torch.ones(3, device="«place»")\nx.untyped_storage().resize_(0)\nseen = exported(x)',
        None,
    ),
}

_EXPORTED = '''
def exported(x):
    """The words that the export describes, or the exception by which it is refused."""
    try:
        «export»
    except Exception as error:
        return error
    if not address:
        return f"an address of 0 for {shape}"
    positions = [sum(i * s for i, s in zip(at, strides)) for at in itertools.product(*map(range, shape))]
    return [word for at in positions for word in floats_at(address + at * size, size // 4)]
'''
_BY_DLPACK = """
capsule = x.__dlpack__()
tensor = opened(capsule).tensor
address, shape = tensor.data or 0, tensor.shape[: tensor.ndim]
strides, size = tensor.strides[: tensor.ndim], tensor.bits // 8
"""
_BY_CAI = """
published = x.__cuda_array_interface__
address, shape, size = published["data"][0], list(published["shape"]), int(published["typestr"][2:])
strides = [s // size for s in published.get("strides") or [size]]
"""
_BY_TABLE = """
«call»
address, shape = tensor.data or 0, tensor.shape[: tensor.ndim]
strides, size = tensor.strides[: tensor.ndim], tensor.bits // 8
"""
_CALLS = {
    "export": """
out = ctypes.c_void_p()
if EXPORT(TABLE.export)(x, ctypes.byref(out)):
    return RuntimeError("a failure without an exception")
tensor = Versioned.from_address(out.value).tensor
""",
    "borrow": """
tensor = DLTensor()
if BORROW(TABLE.borrow)(x, ctypes.byref(tensor)):
    return RuntimeError("a failure without an exception")
""",
}
_TABLE = """
class Table(ctypes.Structure):  # DLPackExchangeAPI of dlpack.h 1.3
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32)] + [
        (name, ctypes.c_void_p) for name in ("older", "allocate", "export", "take", "borrow", "stream")
    ]


EXPORT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(ctypes.c_void_p))
BORROW = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DLTensor))
if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    print("cannot be run here: this PyTorch has no C exchange API")
    sys.exit(2)
ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
ctypes.pythonapi.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
TABLE = Table.from_address(
    ctypes.pythonapi.PyCapsule_GetPointer(torch.Tensor.__dlpack_c_exchange_api__, b"dlpack_exchange_api")
)
"""
JUDGED = """
«make»
elements = «elements»
refused = «refused»
"""
RIGHT = "isinstance(seen, Exception) and not isinstance(seen, (LookupError, AssertionError, SystemError))"


@template("state.resolved-or-refused", "exchange-api.inexpressible")
def write(case: Case) -> Readable | None:
    """Return the script with a capsule, a dictionary, or a function of the exchange API."""
    state = STATES.get(case.option("state"))
    if case.producer != "torch" or state is None:
        return None
    place = case.device.value if case.device.value == "cuda" else "cpu"
    by_table = case.invariant.startswith("exchange-api")
    code = joined(
        start(case, standard=("ctypes", "itertools"), driver=place == "cuda"),
        STRUCTS if case.protocol == "dlpack" else "",
        _TABLE if by_table else READER if case.protocol == "dlpack" else "",
        peek(case),
        fill(_EXPORTED, export=_way(case, by_table)),
        fill(JUDGED, make=fill(state.code, place=place), elements=state.elements, refused=RIGHT),
        fill(
            END,
            expected='"a refusal" + (f", or {elements}" if elements else "")',
            seen="repr(seen)",
            right="refused or (elements and seen == elements)",
        ),
    )
    what = (
        "by a function of its C exchange API"
        if by_table
        else "by " + ("DLPack" if case.protocol == "dlpack" else "its dictionary")
    )
    return Readable(
        f"Exports a tensor that {state.told} {what}, and looks at what the export describes in memory.", code
    )


def _way(case: Case, by_table: bool) -> str:
    if by_table:
        return fill(_BY_TABLE, call=_CALLS[case.option("function")])
    return _BY_DLPACK if case.protocol == "dlpack" else _BY_CAI
