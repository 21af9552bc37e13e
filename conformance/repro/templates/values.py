"""Views that arrive with other elements or other strides, or that crash the process."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import NEGATIVE, Layout, layout

from ..text import fill
from . import Readable, template
from .arrays import ADDRESS, BY_CAI, VALUES, counted, made, taken, with_numpy
from .capsules import READER, STRUCTS, allocated, exporter
from .common import BEGIN, END, joined, start

_ARRAY = """
x = «made»
elements = «elements»
"""
_TAKEN = """
«begin»
try:
    y = «taken»
except Exception as error:
    print("refused, as it may be:", repr(error))
    sys.exit(0)
seen = «values»
"""
_DICTIONARY = '''
class Published:
    """Device memory as the CUDA Array Interface describes it."""

    __cuda_array_interface__ = {
        "shape": «shape», "typestr": "<f4", "data": (address + «offset», False), "strides": «strides», "version": 3,
    }


x = Published()
elements = «elements»
'''


@template("pointer.values")
def values(case: Case) -> Readable | None:
    """Return the script: one library reads the exported array of another."""
    form = layout(case.option("layout"))
    if case.consumer in ("reference", "cuda_python"):
        return _described(case, form) if form.name in NEGATIVE else None
    take, read = taken(case.consumer, case.protocol, "x"), VALUES.get(case.consumer)
    array = _array(case, form)
    if array is None or take is None or read is None or (case.consumer == "numpy" and not form.view.size):
        return None
    dies = case.consumer == "torch" and form.name in NEGATIVE
    code = joined(
        start(
            case,
            also=with_numpy(case),
            standard=("ctypes",) if "ctypes.c" in array else (),
            driver="nvidia." in array,
            views="StridedMemoryView" in array,
            dies=dies,
        ),
        array,
        fill(
            _TAKEN,
            begin=f"{BEGIN}  # from here on" if dies else "",
            taken=take,
            values=read.format("y"),
        ),
        fill(END, expected="elements", seen="seen", right="seen == elements"),
    )
    return Readable(f"Hands over {_told(form)}, and has {case.consumer} read it.", code)


def _told(form: Layout) -> str:
    return f"an array of layout `{form.name}` (shape {form.view.shape}, strides of {form.view.strides} elements)"


def _array(case: Case, form: Layout) -> str | None:
    """Return ``x``, which exports only the case's protocol, and its elements."""
    kind, place, elements = case.option("dtype", "float32"), case.device.value, counted(form)
    if case.producer == "reference":
        return _own(case, form) if kind == "float32" else None
    if case.producer == "cuda_python":
        return _of_cuda_python(case, form) if kind == "float32" and place == "cuda" else None
    expression = made(case.producer, form, kind, place)
    if expression is None:
        return None
    if case.protocol == "cai":
        return joined(BY_CAI, fill(_ARRAY, made=f"Shown({expression})", elements=elements))
    return fill(_ARRAY, made=expression, elements=elements)


def _own(case: Case, form: Layout) -> str:
    if case.protocol == "cai":
        return joined(_memory(form), _dictionary(form))
    described = exporter(case.device.value, form.view, count=form.elements)
    return joined(described, fill(_ARRAY, made="Exporter(tensor)", elements=counted(form)))


def _memory(form: Layout) -> str:
    return allocated("cuda", f"(ctypes.c_float * {form.elements})(*range({form.elements}))")


def _dictionary(form: Layout) -> str:
    strides = tuple(4 * stride for stride in form.view.strides)
    return fill(
        _DICTIONARY, shape=form.view.shape, offset=4 * form.view.offset, strides=strides, elements=counted(form)
    )


_VIEWED = """
x = StridedMemoryView.from_cuda_array_interface(x, stream_ptr=-1)  # which exports DLPack
"""


def _of_cuda_python(case: Case, form: Layout) -> str:
    """Return the class that users of CUDA Python write around an allocation. A ``StridedMemoryView`` of it exports DLPack."""
    memory = _CUDA_CORE_MEMORY.format(size=4 * form.elements, count=form.elements)
    return joined(memory, _dictionary(form), _VIEWED if case.protocol == "dlpack" else "")


_CUDA_CORE_MEMORY = """
buffer = gpu.allocate({size}, stream=gpu.default_stream)
gpu.default_stream.sync()
address = int(buffer.handle)
content = numpy.arange({count}, dtype="float32")
driver.cuMemcpyHtoD(address, content.ctypes.data, {size})
"""


# -- strides as they are described

_CAPSULE = """
x = «made»
capsule = x.__dlpack__(«keywords»)
tensor = opened(capsule).tensor
strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
seen = (tuple(tensor.shape[: tensor.ndim]), strides, tensor.data + tensor.byte_offset)
"""
_VIEW = """
x = «made»
view = StridedMemoryView.from_dlpack(x, stream_ptr=«stream»)
seen = (tuple(view.shape), view.strides, view.ptr)
"""
_STRIDES_END = """
expected = («shape», «strides», «address»)
print("expected: shape {}, strides of {} elements, element 0 at {:#x}".format(*expected))
print("seen:     shape {}, strides of {} elements, element 0 at {:#x}".format(*seen))
sys.exit(0 if seen == expected else 1)
"""


@template("layout.capsule-strides")
def capsule_strides(case: Case) -> Readable | None:
    """Return the script for a producer's capsule."""
    form = layout(case.option("layout"))
    legacy = case.option("capsule", "newest") == "legacy"
    return _described(case, form, keywords="" if legacy else "max_version=(1, 0)")


@template("layout.import-strides")
def import_strides(case: Case) -> Readable | None:
    """Return the script for a consumer that only describes the array."""
    form = layout(case.option("layout"))
    return _described(case, form) if case.protocol == "dlpack" else None


def _described(case: Case, form: Layout, keywords: str = "max_version=(1, 0)") -> Readable | None:
    """Return the script; ``None`` unless every stride matters: no size-1 dimension, and not row-major."""
    kind, device = case.option("dtype", "float32"), case.device.value
    expression = made(case.producer, form, kind, device)
    clear = min(form.view.shape, default=0) > 1 and not form.view.contiguous
    if expression is None or not clear or case.protocol != "dlpack" or case.producer not in ADDRESS:
        return None
    if case.consumer == "reference":
        pieces = [STRUCTS, READER, fill(_CAPSULE, made=expression, keywords=keywords)]
        how = "reads the capsule with ctypes"
    elif case.consumer == "cuda_python":
        stream = "int(gpu.default_stream.handle)" if device == "cuda" else "-1"
        pieces, how = [fill(_VIEW, made=expression, stream=stream)], "looks at it through a StridedMemoryView"
    else:
        return None
    end = fill(
        _STRIDES_END,
        shape=form.view.shape,
        strides=form.view.strides,
        address=ADDRESS[case.producer].format("x"),
    )
    code = joined(start(case, standard=("ctypes",) if case.consumer == "reference" else ()), *pieces, end)
    return Readable(f"Exports {_told(form)}, and {how}.", code)


# -- strides that no capsule can state

_PARTIAL = """
x = «library».lib.stride_tricks.as_strided(«library».arange(12).astype("float32"), shape=(4,), strides=(6,))
try:
    seen = x.__dlpack__()
    told = f"a capsule with strides of {opened(seen).tensor.strides[:1]} elements"
except Exception as error:
    seen, told = error, repr(error)
"""


@template("layout.partial-strides-export")
def partial_strides(case: Case) -> Readable | None:
    """Return the script for DLPack, whose strides count elements and not bytes."""
    if case.producer not in ("cupy", "numpy") or case.protocol != "dlpack":
        return None
    code = joined(
        start(case, standard=("ctypes",)),
        STRUCTS,
        READER,
        fill(_PARTIAL, library=case.producer),
        fill(
            END,
            expected='"a refusal: a stride of 6 bytes is no whole number of float32"',
            seen="told",
            right="isinstance(seen, Exception) and not isinstance(seen, (LookupError, AssertionError, SystemError))",
        ),
    )
    return Readable("Exports an array whose elements of 4 bytes lie 6 bytes apart.", code)
