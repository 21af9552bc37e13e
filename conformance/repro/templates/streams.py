"""Expressions of each library for streams: create one, write and read an array on it, and import an array while it is current.

All texts use the same names: ``x`` is the producer's array, ``shown`` the exported object, ``y`` the import, ``into`` the target of a read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from conformance.checks.catalogue import Case

from ..text import fill
from .arrays import BY_CAI
from .common import joined, start

HOLD = '''
def hold(stream, seconds):
    """What is queued on this stream from here on does not begin before so many seconds have passed."""
    wait, microseconds = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p), ctypes.c_void_p(int(seconds * 1e6))
    if seconds:
        assert nvidia.cuLaunchHostFunc(ctypes.c_void_p(stream), wait, microseconds) == 0
'''
_MEMORY = '''
class Memory:
    """Numbers on the device, published with the stream that they were last used on."""

    def __init__(self, value):
        pointer = ctypes.c_uint64()
        assert nvidia.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(1024)) == 0
        nvidia.cuMemsetD32_v2(pointer, ctypes.c_uint32(value), ctypes.c_size_t(256))
        self.address, self.stream = pointer.value, None

    def fill(self, value, stream):
        words = ctypes.c_uint64(self.address), ctypes.c_uint32(value), ctypes.c_size_t(256)
        assert nvidia.cuMemsetD32Async(*words, ctypes.c_void_p(stream)) == 0
        self.stream = stream

    def copy_to(self, address, stream):
        to, of = ctypes.c_uint64(address), ctypes.c_uint64(self.address)
        assert nvidia.cuMemcpyDtoDAsync_v2(to, of, ctypes.c_size_t(1024), ctypes.c_void_p(stream)) == 0
        self.stream = stream

    «published»
'''
_PUBLISHED = """
@property
def __cuda_array_interface__(self):
    described = {"shape": SHAPE, "typestr": "<i4", "data": (self.address, False), "strides": None, "version": 3}
    return {**described, "stream": self.stream}
"""
NEW_STREAM = '''
def new_stream():
    """The handle of a non-blocking stream."""
    made = ctypes.c_void_p()
    assert nvidia.cuStreamCreate(ctypes.byref(made), ctypes.c_uint(1)) == 0
    return made.value
'''
_WRAPPED = '''
class Wrapped:
    """What users of CUDA Python write around an allocation; it publishes the stream that it was last used on."""

    def __init__(self, value):
        self.buffer = gpu.allocate(1024, stream=gpu.default_stream)
        self.address, self.stream = int(self.buffer.handle), None
        driver.cuMemsetD32(self.address, value, 256)

    def fill(self, value, stream):
        driver.cuMemsetD32Async(self.address, value, 256, driver.CUstream(int(stream.handle)))
        self.stream = int(stream.handle)

    def copy_to(self, address, stream):
        driver.cuMemcpyDtoDAsync(address, self.address, 1024, driver.CUstream(int(stream.handle)))
        self.stream = int(stream.handle)

    «published»
'''
_WORD_AT = '''
def word_at(address):
    """The first number there."""
    word = ctypes.c_int32()
    assert nvidia.cuMemcpyDtoH_v2(ctypes.byref(word), ctypes.c_uint64(address), ctypes.c_size_t(4)) == 0
    return word.value
'''
_TENSOR = '''
def tensor(value):
    """A tensor of CV-CUDA full of one number."""
    made = cvcuda.Tensor(SHAPE, cvcuda.Type.S32, "HWC", rowalign=1)
    cvcuda.convertto_into(made, made, 0.0, float(value))
    return made
'''


@dataclass(frozen=True)
class Library:
    """Texts with ``{}`` for their one argument, or with the names of the module's docstring and ``{stream}``.

    ``current`` makes a stream the current one, if the library has that concept. ``shown`` is the object with the dictionary.
    """

    stream: str
    handle: str
    synchronise: str
    full: str
    fill: str
    copy: str
    take: str
    value: str
    roles: dict[str, str]
    current: str = ""
    shown: str = "x"
    helpers: tuple[str, ...] = ()


LIBRARIES = {
    "torch": Library(
        stream="torch.cuda.Stream()",
        handle="{}.cuda_stream",
        synchronise="{}.synchronize()",
        full='torch.full(SHAPE, {}, dtype=torch.int32, device="cuda")',
        fill="with torch.cuda.stream({stream}):\n    {array}.fill_({value})",
        copy="with torch.cuda.stream({stream}):\n    {into}.copy_({array})",
        take='with torch.cuda.stream({stream}):\n    y = torch.as_tensor({shown}, device="cuda")',
        value="int({}.flatten()[0])",
        roles={"default": "torch.cuda.default_stream()"},
        current="with torch.cuda.stream({}):",
    ),
    "cupy": Library(
        stream="cupy.cuda.Stream(non_blocking=True)",
        handle="{}.ptr",
        synchronise="{}.synchronize()",
        full="cupy.full(SHAPE, {}, cupy.int32)",
        fill="with {stream}:\n    {array}.fill({value})",
        copy="with {stream}:\n    cupy.copyto({into}, {array})",
        take="with {stream}:\n    y = cupy.asarray({shown})",
        value="int({}.ravel()[0])",
        roles={"default": "cupy.cuda.Stream.null", "per-thread": "cupy.cuda.Stream.ptds"},
        current="with {}:",
    ),
    "cvcuda": Library(
        stream="cvcuda.Stream()",
        handle="{}.handle",
        synchronise="{}.sync()",
        full="tensor({})",
        fill="cvcuda.convertto_into({array}, {array}, 0.0, float({value}), stream={stream})",
        copy="cvcuda.convertto_into({into}, {array}, 1.0, 0.0, stream={stream})",
        take='with {stream}:\n    y = cvcuda.as_tensor({shown}, "HWC")',
        value='word_at({}.cuda().__cuda_array_interface__["data"][0])',
        roles={"default": "cvcuda.Stream.default"},
        current="with {}:",
        shown="x.cuda()",
        helpers=(_TENSOR, _WORD_AT),
    ),
    "pycuda": Library(
        stream="pycuda.driver.Stream(1)  # non-blocking",
        handle="{}.handle",
        synchronise="{}.synchronize()",
        full='pycuda.gpuarray.to_gpu(numpy.full(SHAPE, {}, "int32"))',
        fill="pycuda.driver.memset_d32_async(int({array}.ptr), {value}, {array}.size, {stream})",
        copy="pycuda.driver.memcpy_dtod_async(int({into}.ptr), int({array}.ptr), 1024, {stream})",
        take='shown = {shown}\npublished = shown.__cuda_array_interface__\nif published.get("stream"):  # PyCUDA leaves it to its users\n'
        '    nvidia.cuStreamSynchronize(ctypes.c_void_p(published["stream"]))\n'
        'y = pycuda.gpuarray.GPUArray(SHAPE, numpy.dtype("int32"), gpudata=published["data"][0], base=shown)',
        value="int({}.get().ravel()[0])",
        roles={"default": "None"},
    ),
    "cuda_python": Library(
        stream="gpu.create_stream()",
        handle="int({}.handle)",
        synchronise="{}.sync()",
        full="Wrapped({})",
        fill="{array}.fill({value}, {stream})",
        copy="",
        take="y = StridedMemoryView.from_cuda_array_interface({shown}, stream_ptr=int({stream}.handle))",
        value="word_at({}.address)",
        roles={"default": "gpu.default_stream", "per-thread": "cuda.core.PER_THREAD_DEFAULT_STREAM"},
        helpers=(_WRAPPED, _WORD_AT),
    ),
    "reference": Library(
        stream="new_stream()",
        handle="{}",
        synchronise="nvidia.cuStreamSynchronize(ctypes.c_void_p({}))",
        full="Memory({})",
        fill="{array}.fill({value}, {stream})",
        copy="",
        take='y = {shown}.__cuda_array_interface__\nif y.get("stream"):  # all that is pending has to come before it\n'
        '    nvidia.cuStreamSynchronize(ctypes.c_void_p(y["stream"]))',
        value="word_at({}.address)",
        roles={"default": "1", "per-thread": "2"},
        helpers=(NEW_STREAM, _MEMORY, _WORD_AT),
    ),
}  # fmt: skip
_COPIES_OF_IMPORTS = {
    "cuda_python": "driver.cuMemcpyDtoDAsync({into}.address, {array}.ptr, 1024, driver.CUstream(int({stream}.handle)))",
    "reference": "assert nvidia.cuMemcpyDtoDAsync_v2(\n"
    '    ctypes.c_uint64({into}.address), ctypes.c_uint64({array}["data"][0]), ctypes.c_size_t(1024), ctypes.c_void_p({stream})\n'
    ") == 0",
}
"""Imports that are not arrays of the library's own type."""
_COPIES_OF_OWN = dict.fromkeys(("cuda_python", "reference"), "{array}.copy_to({into}.address, {stream})")


def writes_imports(name: str) -> bool:
    """Whether the library can write its imports."""
    return name not in ("cuda_python", "reference")


@dataclass(frozen=True)
class Side:
    """One library's texts, filled in. If it ``publishes``, its arrays name an explicit stream, independent of the library."""

    name: str
    publishes: bool = False

    @property
    def words(self) -> Library:
        """The texts of the library."""
        return LIBRARIES[self.name]

    @property
    def has_current(self) -> bool:
        """Whether the exported dictionary depends on the current stream."""
        return bool(self.words.current) and not self.publishes

    def full(self, value: str) -> str:
        """Return an expression for a new array filled with one number."""
        return self.words.full.format(value)

    def fill(self, array: str, value: str, stream: str) -> str:
        """Return a statement that queues a write on a stream."""
        return self.words.fill.format(array=array, value=value, stream=stream)

    def copy(self, into: str, array: str, stream: str) -> str:
        """Return a statement that queues a copy of an import on a stream."""
        text = _COPIES_OF_IMPORTS.get(self.name, self.words.copy)
        return text.format(into=into, array=array, stream=stream)

    def copy_own(self, into: str, array: str, stream: str) -> str:
        """Return a statement that queues a copy of an array of the library on a stream."""
        text = _COPIES_OF_OWN.get(self.name, self.words.copy)
        return text.format(into=into, array=array, stream=stream)

    def take(self, shown: str, stream: str) -> str:
        """Return a statement that imports on a stream."""
        return self.words.take.format(shown=shown, stream=stream)

    def show(self, stream: str, *, current: str = "") -> str:
        """Return statements that read the dictionary of ``x``, written on a stream, while that stream or ``current`` is current."""
        shown = f"shown = {self.shows(stream)}"
        return f"{self.words.current.format(current or stream)}\n    {shown}" if self.has_current else shown

    def shows(self, stream: str) -> str:
        """Return an expression that reads the dictionary of ``x``, written on a stream, independent of the current stream."""
        return f"Published(x, {stream})" if self.publishes else f"Shown({self.words.shown})"

    def handle(self, stream: str) -> str:
        """Return an expression for the number of a stream."""
        return self.words.handle.format(stream)

    def synchronise(self, stream: str) -> str:
        """Return a statement that blocks the host until a stream is done."""
        return self.words.synchronise.format(stream)

    def value(self, array: str) -> str:
        """Return an expression for the first number of an array of the library."""
        return self.words.value.format(array)

    def stream(self, role: str = "stream") -> str | None:
        """Return an expression for a new or a special stream of the library; ``None`` if it has none in this role."""
        return self.words.stream if role == "stream" else self.words.roles.get(role)

    def shower(self) -> str:
        """Return the class of the exported objects."""
        if not self.publishes:
            return BY_CAI
        return fill(_PUBLISHER, dictionary=f"{self.words.shown}.__cuda_array_interface__", handle=self.handle("stream"))


_PUBLISHER = '''
class Published:
    """Shows an array by the CUDA Array Interface, with the stream that it was written on, as producers have to."""

    def __init__(self, x, stream):
        described = {**«dictionary», "version": 3, "stream": «handle»}
        self.owner, self.__cuda_array_interface__ = x, described
'''
_BORROWED = ("torch", "cupy", "cvcuda")


def sides(case: Case) -> tuple[Side, Side] | None:
    """Return producer and consumer; ``None`` if a library has no texts, or for other protocols and devices than the array interface on CUDA.

    The reference as producer publishes an array of the consumer's library, if that can write and show one: this gives the shortest script.
    """
    both = case.producer in LIBRARIES and case.consumer in LIBRARIES
    if not both or case.protocol != "cai" or case.device.value != "cuda":
        return None
    consumer = Side(case.consumer)
    if case.producer == "reference" and case.consumer in _BORROWED:
        return Side(case.consumer, publishes=True), consumer
    return Side(case.producer), consumer


def together(*texts: str) -> str:
    """Join statements. Two ``with`` blocks on one stream become one."""
    lines: list[str] = []
    opened = ""
    for text in texts:
        first, *rest = text.split("\n")
        if first != opened:
            lines.append(first)
        lines += rest
        opened = first if first.startswith("with ") else ""
    return "\n".join(lines)


def prologue(
    case: Case,
    producer: Side,
    consumer: Side,
    *,
    standard: Iterable[str] = (),
    new_streams: bool = False,
) -> str:
    """Return the beginning of a script about streams: libraries, driver, helpers; with ``new_streams`` also functions that make streams."""
    names = (producer.name, consumer.name)
    helpers = (*([NEW_STREAM] if new_streams else []), *producer.words.helpers, *consumer.words.helpers)
    shape = "(1, 256, 1)  # as the operators of CV-CUDA take it" if "cvcuda" in names else "(256,)"
    publishing = {_MEMORY: producer.name == "reference", _WRAPPED: producer.name == "cuda_python"}
    filled = [
        fill(h, published=_PUBLISHED if publishing[h] else "") if h in publishing else h for h in dict.fromkeys(helpers)
    ]
    also = ("numpy",) if "pycuda" in names else ()
    begun = start(case, also=also, standard=tuple(standard), driver=True, streams=True)
    return joined(begun, f"SHAPE = {shape}", HOLD, *filled, producer.shower())
