"""PyTorch tensors handed directly to other libraries, by the libraries' own calls."""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .common import END, joined, peek, start
from .states import JUDGED, RIGHT, STATES

_CALLS = {
    "numpy.asarray": "numpy.asarray(x)",
    "numpy.from_dlpack": "numpy.from_dlpack(x)",
    "cupy.asarray": "cupy.asarray(x)",
    "cupy.from_dlpack": "cupy.from_dlpack(x)",
    "cvcuda.as_tensor": "cvcuda.as_tensor(x)",
    "cuda.core.from_dlpack": "StridedMemoryView.from_dlpack(x, stream_ptr=-1)",
    "cuda.core.from_cuda_array_interface": "StridedMemoryView.from_cuda_array_interface(x, stream_ptr=-1)",
    "cuda.core.from_array_interface": "StridedMemoryView.from_array_interface(x)",
    "cuda.core.from_any_interface": "StridedMemoryView.from_any_interface(x, stream_ptr=-1)",
}
_DESCRIBED = {
    "numpy": "address, size, shape, strides = y.ctypes.data, y.itemsize, y.shape, [s // y.itemsize for s in y.strides]",
    "cupy": "address, size, shape, strides = y.data.ptr, y.itemsize, y.shape, [s // y.itemsize for s in y.strides]",
    "cvcuda": 'told = y.cuda().__cuda_array_interface__\naddress, size, shape = told["data"][0], int(told["typestr"][2:]), told["shape"]\n'
    'strides = [s // size for s in told.get("strides") or [size]]',
    "cuda_python": "address, size, shape, strides = y.ptr, y.dtype.itemsize, y.shape, y.strides or [1]",
}
_TAKEN = '''
def exported(x):
    """The words that the import describes, or the exception by which the tensor is refused."""
    try:
        y = «call»
    except Exception as error:
        return error
    «described»
    if not address:
        return f"an address of 0 for {shape}"
    positions = [sum(i * s for i, s in zip(at, strides)) for at in itertools.product(*map(range, shape))]
    return [word for at in positions for word in floats_at(address + at * size, size // 4)]
'''
_GRADIENTS = ("requires-grad", "graph-node")


@template("native.states")
def states(case: Case) -> Readable | None:
    """Return the script for a tensor that the protocols refuse, with a call that may read it by its type."""
    state, call = STATES.get(case.option("state")), _CALLS.get(case.option("call"))
    if case.producer != "torch" or state is None or call is None or case.consumer not in _DESCRIBED:
        return None
    place = case.device.value if case.device.value == "cuda" else "cpu"
    is_refusal = case.option("state") in _GRADIENTS
    code = joined(
        start(case, standard=("ctypes", "itertools"), driver=place == "cuda"),
        peek(case),
        fill(_TAKEN, call=call, described=_DESCRIBED[case.consumer]),
        fill(
            JUDGED, make=fill(state.code, place=place), elements=None if is_refusal else state.elements, refused=RIGHT
        ),
        fill(
            END,
            expected='"a refusal" + (f", or {elements}" if elements else "")',
            seen="repr(seen)",
            right="refused or (elements and seen == elements)",
        ),
    )
    return Readable(
        f"Hands a tensor that {state.told} to `{call}`, and looks at what the result describes in memory.", code
    )


_NO_STREAM = """
x = torch.ones(3, device="«place»")
try:
    y = «call»
    seen, refused = f"accepted: a view of {y.ptr:#x}", False
except Exception as error:
    seen, refused = repr(error), True
"""


@template("native.stream-argument")
def stream_argument(case: Case) -> Readable | None:
    """Return the script for ``stream_ptr=None``."""
    call = _CALLS.get(case.option("call"), "")
    if case.producer != "torch" or "stream_ptr=-1" not in call:
        return None
    call = call.replace("stream_ptr=-1", "stream_ptr=None")
    place = "cuda" if case.device.value == "cuda" else "cpu"
    code = joined(
        start(case),
        fill(_NO_STREAM, place=place, call=call),
        fill(END, expected='"an exception, because no stream is named"', seen="seen", right="refused"),
    )
    return Readable(f"Hands a tensor to `{call}`, which names no stream.", code)


_BOTH = """
x = «make»
seen = {}
for name, call in [("torch.as_tensor", torch.as_tensor), ("torch.asarray", torch.asarray)]:
    try:
        y = call(x, device="cuda")
        seen[name] = f"takes it, element 0 at {y.data_ptr():#x}"
    except Exception as error:
        seen[name] = f"raises {error!r}"
"""


@template("native.calls-agree")
def calls_agree(case: Case) -> Readable | None:
    """Return the script for two calls of PyTorch with a CuPy array."""
    if (case.producer, case.consumer, case.option("array")) != ("cupy", "torch", "c-order"):
        return None
    code = joined(
        start(case),
        fill(_BOTH, make="cupy.arange(12, dtype=cupy.float32).reshape(3, 4)"),
        fill(
            END,
            expected='"both take the array, or both refuse it"',
            seen="seen",
            right='len({told.split(" ")[0] for told in seen.values()}) == 1',
        ),
    )
    return Readable("Hands a CuPy array to `torch.as_tensor` and to `torch.asarray`, and compares what they do.", code)
