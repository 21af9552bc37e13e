"""Adapter: the interface between the suite and one library.

An adapter creates arrays of its library, exports them by one protocol, imports others, and describes, reads and writes arrays. To add
a library, derive from :class:`Adapter`: implement the abstract methods, declare :class:`Trait` members for the optional ones, and raise
:class:`Unsupported` for everything that the library cannot do. Only the adapter imports its library, and only in :meth:`Adapter.load`, so
that the command line works without any library installed.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from conformance.cuda import memory as cuda_memory
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Broadcast, Index, Step, Transpose

if TYPE_CHECKING:
    from .calls import Style, UserCall
    from .changes import Change
    from .making import Making
    from .special import Foreign, State


class Protocol(str, Enum):
    """The protocol by which an array is exchanged."""

    DLPACK = "dlpack"
    CAI = "cai"


class Device(str, Enum):
    """The memory that holds the elements. ``SIMULATED`` is host memory that claims to be CUDA; only the reference library has it."""

    HOST = "host"
    CUDA = "cuda"
    SIMULATED = "simulated"

    @property
    def dlpack_type(self) -> int:
        """Return the DLPack device type: 1 for CPU, 2 for CUDA."""
        return 1 if self is Device.HOST else 2


class Trait(str, Enum):
    """A promise or an ability of a library on which a verdict depends."""

    ARRAY_API = "array-api"
    """Follows the array API standard, so every dtype of DLP-46 must be exported and imported."""
    IMMUTABLE = "immutable"
    """Its arrays cannot be written to."""
    WRITES = "writes"
    """Has an operation that overwrites the elements of an array."""
    KERNEL = "kernel"
    """Can run a kernel on an array."""
    ADDS = "adds"
    """Adds two arrays."""
    STACKS = "stacks"
    """Stacks several arrays into a new one."""
    COPIES = "copies"
    """Copies an array to a new one."""
    DEVICE_ATTRIBUTE = "device-attribute"
    """Its arrays have a public device attribute that users compare."""
    READONLY = "readonly"
    """Has read-only arrays."""
    COPY_KEYWORD = "copy-keyword"
    """Its ``from_dlpack`` accepts ``copy=``."""
    DEVICE_KEYWORD = "device-keyword"
    """Its ``from_dlpack`` accepts ``device=``."""
    CAPSULES = "capsules"
    """Has a call that accepts a bare capsule."""
    PITCHED = "pitched"
    """Can allocate arrays with padded rows."""
    STRIDES = "strides"
    """Creates views with given strides, in whole elements."""
    BYTE_STRIDES = "byte-strides"
    """Like :attr:`STRIDES`, but a stride need not be a multiple of the element size."""
    CONTIGUITY = "contiguity"
    """Reports whether an array is C-contiguous."""
    EXTENT = "extent"
    """Reports the extent of the memory behind an import."""
    PINNED = "pinned"
    """Allocates pinned host memory."""
    MANAGED = "managed"
    """Allocates managed memory."""
    POOL = "pool"
    """Allocates from a stream-ordered memory pool."""
    POINTER_ONLY = "pointer-only"
    """Has no call that imports an array by the array interface. Its users build an array on the published pointer by hand, and are
    responsible for the rest of the dictionary.
    """
    KERNEL_ARGUMENTS = "kernel-arguments"
    """Its kernels accept any object with the array interface as an argument."""

    VIEW_ONLY = "view-only"
    """Its import only describes the array: it has no views, and its user queues all work on it."""
    STREAMS = "streams"
    """Creates streams, queues work on them, and reports the current one."""

    CURRENT_STREAM = "current-stream"
    """Has a current stream, or remembers the stream that wrote an array, so its users pass no stream when they export."""
    PER_THREAD_STREAM = "per-thread-stream"
    """Has an object for the per-thread default stream."""
    FOREIGN_STREAM = "foreign-stream"
    """Wraps the bare handle of a stream that another library created."""
    CHOOSES_STREAM = "chooses-stream"
    """Has a call that makes a stream current until the next such call, without a ``with`` block."""
    DEFAULT_TOKEN = "default-token"
    """Has one object for the default stream of whichever GPU is current, and records events on it."""
    STREAM_PROTOCOL = "stream-protocol"
    """Has a call that accepts any object with ``__cuda_stream__``."""

    GPUS = "gpus"
    """Creates arrays and streams on any GPU, not only on the first."""
    JOINS = "joins"
    """Has a call that imports several arrays as one object."""

    CACHE = "cache"
    """Caches the memory of device arrays that have died, or the objects themselves, and reuses them for new arrays."""

    THREADED = "threaded"
    """Runs threads of its own on host memory, and documents that a fork of its process may deadlock."""

    EXCHANGE_API = "exchange-api"
    """The type that exports DLPack also offers DLPack's C exchange API. The suite measures this; adapters do not declare it."""


class Unsupported(Exception):
    """Raised if the library has no such array, element type or operation. The message says which."""


@dataclass(frozen=True)
class View:
    """An array as its library describes it: address of element 0, strides in **bytes**, DLPack device as (type, id)."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None
    device: tuple[int, int] | None
    readonly: bool | None = None


def _unheard(*_: Any) -> None:
    """Default listener of an offer, which does nothing."""


class DLPackOffer:
    """An object that offers DLPack only, so that a consumer cannot use another protocol.

    ``asked`` is called before the request reaches the producer. ``answered`` gets the capsule before the consumer does.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.raised: BaseException | None = None
        self.asked: Callable[[], None] = _unheard
        self.answered: Callable[[Any], None] = _unheard

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        self.asked()
        try:
            capsule = self._source.__dlpack__(*args, **kwargs)
        except BaseException as error:
            self.raised = error
            raise
        self.answered(capsule)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._source.__dlpack_device__()  # type: ignore[no-any-return]


class CAIOffer:
    """An object that offers ``__cuda_array_interface__`` only. See :class:`DLPackOffer` for ``asked`` and ``answered``."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.raised: BaseException | None = None
        self.asked: Callable[[], None] = _unheard
        self.answered: Callable[[Any], None] = _unheard

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.asked()
        try:
            described: dict[str, Any] = self._source.__cuda_array_interface__
        except BaseException as error:
            self.raised = error
            raise
        self.answered(described)
        return described


Offer = DLPackOffer | CAIOffer


class Adapter(ABC):
    """One library. Class attributes are facts about every version; methods named ``present_…`` measure the installed version."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    """Names on the package index, from which the suite reads versions. The first one that is installed counts."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Distributions that must all be installed for the library to count as installed. If this is empty, any one is enough."""
    preload: ClassVar[tuple[str, ...]] = ()
    """Modules that are safe to import before a fork: their import uses neither CUDA nor threads."""
    preload_for_states: ClassVar[tuple[str, ...]] = ()
    """Further modules that are safe to import before a fork. The library imports them when an array of :attr:`states` is built."""
    traits: ClassVar[frozenset[Trait]] = frozenset()
    opt_out: ClassVar[int | None] = None
    """The ``stream`` in an array interface that makes the importer skip its wait, as documented (CAI-21)."""
    own_exporter: ClassVar[str] = ""
    """A description of the class that exports the array interface if the suite wrote it and not the library.

    Failures of that class accuse no library.
    """
    exports: ClassVar[dict[Device, tuple[Protocol, ...]]]
    imports: ClassVar[dict[Device, tuple[Protocol, ...]]]
    candidate_dtypes: ClassVar[tuple[str, ...]]
    narrow_dtypes: ClassVar[tuple[str, ...]] = ()
    """Types of :data:`conformance.protocols.dtypes.NARROW` that :meth:`narrow` supports."""
    foreign: ClassVar[tuple[Foreign, ...]] = ()
    """Arrays of elements without a DLPack type code, or without one that every library uses. The library must refuse to export them."""
    states: ClassVar[tuple[State, ...]] = ()
    """Arrays with memory that does not simply hold their elements. The library must resolve them or refuse to export them."""
    calls: ClassVar[tuple[UserCall, ...]] = ()
    """Public calls that accept objects of other libraries directly."""
    styles: ClassVar[tuple[Style, ...]] = ()
    """Older calling styles that versions of the library drop or add."""
    subclasses: ClassVar[bool] = False
    """``True`` if users derive classes from its arrays; :meth:`subclassed` does the same."""

    changes: ClassVar[tuple[Change, ...]] = ()
    """Operations after which an array may no longer have the memory that it had."""
    donations: ClassVar[tuple[Change, ...]] = ()
    """Calls by which the library reuses the memory of an array, also of an import, for another purpose."""
    made: ClassVar[tuple[Making, ...]] = ()
    """Ways in which users create arrays, by the library's own calls."""

    # Loading

    @abstractmethod
    def load(self) -> None:
        """Import the library and everything that it needs to work. The library's own exception propagates."""

    def usable(self, device: Device) -> str | None:
        """Return ``None`` if the library works on this device here, or the reason why it does not."""
        return None if device in self.exports or device in self.imports else f"{self.name} has no {device.value} arrays"

    def protocols(self, device: Device) -> tuple[tuple[Protocol, ...], tuple[Protocol, ...]]:
        """Return the protocols that this version of the library exports and imports on this device."""
        return self.exports.get(device, ()), self.imports.get(device, ())

    def present_calls(self) -> tuple[UserCall, ...]:
        """Return the :attr:`calls` that can work in this environment. The suite asks after :meth:`load`."""
        return self.calls

    def present_traits(self) -> frozenset[Trait]:
        """Return the :attr:`traits` that hold for this version."""
        return self.traits

    def versions(self) -> dict[str, str]:
        """Return the versions of the installed distributions."""
        return installed(self.distributions)

    # The library's own arrays

    @abstractmethod
    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return a packed, writable array with undefined content. Raise :class:`Unsupported` if the library has none."""

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        """Return a packed array with exactly these bytes as its elements. The suite writes them, not the library."""
        made = self.empty(dtype, shape, device)
        if data:
            poke(self.describe(made).address, data, device)
        return made

    def empty_in(self, kind: cuda_memory.Kind, dtype: DType, shape: tuple[int, ...]) -> Any:
        """Return a packed array in this kind of memory, by the library's own call. The content is undefined."""
        raise Unsupported(f"{self.name} has no {kind.value} memory")

    def view(self, array: Any, step: Step) -> Any:
        """Return the library's own view. Raise :class:`Unsupported` if the library has no such view or would copy."""
        if isinstance(step, Index):
            return array[step.keys]
        if isinstance(step, Transpose):
            return self.transpose(array, step.axes)
        return self.broadcast(array, step)

    def transpose(self, array: Any, axes: tuple[int, ...]) -> Any:
        """Return a view with permuted dimensions."""
        return array.transpose(axes)

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        """Return a view in which dimensions of extent 1 are repeated with stride 0."""
        raise Unsupported(f"{self.name} has no broadcast views")

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        """Return the library's own view with the same shape and first element, and these strides in bytes."""
        raise Unsupported(f"{self.name} cannot create views with given strides")

    @abstractmethod
    def describe(self, array: Any) -> View:
        """Return address, shape, strides, element type and device from the library's own attributes."""

    def contiguous(self, array: Any) -> bool:
        """Return the library's own answer to whether the array is C-contiguous."""
        raise Unsupported(f"{self.name} does not report whether an array is C-contiguous")

    def extent(self, array: Any) -> tuple[int, int]:
        """Return the first byte, and one past the last, of the memory that the library assumes behind an import."""
        raise Unsupported(f"{self.name} does not report the extent of the memory behind an array")

    @abstractmethod
    def read(self, array: Any) -> bytes:
        """Return the elements in row-major order, by the library's own copy to the host."""

    def last(self, array: Any) -> bytes:
        """Return the last element, read by the library. The cost does not depend on the size of the array."""
        ndim = len(self.describe(array).shape)
        return self.read(self.view(array, Index((slice(-1, None),) * ndim)))

    def write(self, array: Any, data: bytes) -> None:
        """Overwrite all elements with these row-major bytes, by the library's own operation. The write is done on return."""
        raise Unsupported(f"{self.name} has no operation that writes an array")

    def kernel_increment(self, array: Any) -> None:
        """Add 1 to every element of a packed int32 array by the library's own kernel. The work is done on return."""
        raise Unsupported(f"{self.name} has no kernels")

    def add(self, first: Any, second: Any) -> Any:
        """Return the elementwise sum of two arrays of one shape and type. The work is done on return."""
        raise Unsupported(f"{self.name} does not add arrays")

    def stack(self, arrays: list[Any]) -> Any:
        """Return a new array that stacks these arrays of one shape and type. The work is done on return."""
        raise Unsupported(f"{self.name} does not stack arrays")

    def copied(self, array: Any) -> Any:
        """Return a copy of the array. The work is done on return."""
        raise Unsupported(f"{self.name} does not copy arrays")

    def device_of(self, array: Any) -> Any:
        """Return the library's own object for the device of an array. Equal objects mean the same device."""
        raise Unsupported(f"arrays of {self.name} have no device attribute")

    def freeze(self, array: Any) -> None:
        """Make the array read-only in place."""
        raise Unsupported(f"{self.name} has no read-only arrays")

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Any:
        """Return a vector of elements narrower than a byte, of one of the :attr:`narrow_dtypes`.

        ``data`` has the elements packed from the low bits up. A library that stores each element in a byte of its own makes the same elements.
        """
        raise Unsupported(f"{self.name} has no {dtype.name}")

    def make(self, making: Making, device: Device) -> Any:
        """Return an array as a user makes it. The library's own exception propagates."""
        return making.made(device, **{self.name: self.module()})

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return an array with padded rows and undefined content."""
        raise Unsupported(f"{self.name} does not pad rows")

    # Streams

    def stream(self, device: Device) -> Any:
        """Return a new non-blocking stream of the library."""
        raise Unsupported(f"{self.name} has no streams")

    def default_stream(self, device: Device) -> Any:
        """Return the stream that is current until another one is chosen."""
        raise Unsupported(f"{self.name} has no streams")

    def foreign_stream(self, handle: int, device: Device) -> Any:
        """Return the library's own object for a stream that another library created."""
        raise Unsupported(f"{self.name} does not accept streams of other libraries")

    def per_thread_stream(self, device: Device) -> Any:
        """Return the library's own object for the per-thread default stream."""
        raise Unsupported(f"{self.name} has no object for the per-thread default stream")

    def import_stream(self, source: Any, device: Device) -> Any:
        """Return the library's own stream for an object with ``__cuda_stream__`` (STR-04). The library's own exception propagates."""
        raise Unsupported(f"{self.name} has no call that accepts an object with __cuda_stream__")

    def current_stream(self, device: Device) -> int:
        """Return the handle, in the form of :meth:`handle`, of this thread's current stream."""
        raise Unsupported(f"{self.name} has no current stream")

    def handle(self, stream: Any) -> int:
        """Return the stream's ``cudaStream_t``. As in the protocols, 1 and 2 are the default streams."""
        raise Unsupported(f"{self.name} has no streams")

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        """Make a stream current in this thread within a ``with`` block, as the library's users do."""
        raise Unsupported(f"{self.name} has no current stream")

    def choose(self, stream: Any) -> None:
        """Make a stream current in this thread until another one is chosen."""
        raise Unsupported(f"{self.name} has no call that chooses a current stream")

    def wait_stream(self, waiter: Any, other: Any) -> None:
        """Make one stream of the library wait for another by the library's own call."""
        raise Unsupported(f"{self.name} has no call by which a stream waits for another")

    def recorded(self, stream: Any, device: Device) -> int | None:
        """Record an event on a stream by the library's own call, and synchronize it.

        Return the GPU that the event reports, or ``None`` if it reports none. The library's own exception propagates.
        """
        raise Unsupported(f"{self.name} records no events")

    def operand(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return a packed array of shape (1, n, 1) for the library's own operations, with undefined content."""
        return self.empty(dtype, shape, device)

    def take_operand(self, offer: Any, protocol: Protocol, device: Device) -> Any:
        """Import an array on the current stream in the form that the library's own operations accept.

        The library's own exception propagates.
        """
        return self.take(offer, protocol, device)

    def take_argument(self, offer: Any, device: Device) -> Any:
        """Return a kernel argument in the place of an array. :meth:`copy` reads it like an import."""
        raise Unsupported(f"{self.name} has no kernels that accept the array interface")

    def argument_address(self, argument: Any) -> int:
        """Return the address that a kernel of the library gets for a result of :meth:`take_argument`.

        The library's own exception propagates.
        """
        raise Unsupported(f"{self.name} has no kernels that accept the array interface")

    def fill(self, array: Any, value: int, stream: Any) -> None:
        """Queue on a stream, by the library's own operation, a fill of an int32 array with ``value`` (below 2**24)."""
        raise Unsupported(f"{self.name} has no operation that writes an array on a stream")

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        """Queue on a stream, by the library's own operation, a copy of int32 elements (below 2**24) to another operand."""
        raise Unsupported(f"{self.name} has no operation that reads an array on a stream")

    # GPUs

    def on_gpu(self, ordinal: int, device: Device) -> AbstractContextManager[Any]:
        """Make a GPU current in this thread by the library's own call, so that arrays and streams are made on it.

        The GPU that was current before is current again at the end.
        """
        raise Unsupported(f"{self.name} has no call that chooses a GPU")

    def take_on(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        """Import an array that the user knows to be on this GPU, so that it stays there."""
        return self.take(offer, protocol, device)

    def take_to(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        """Import an array to this GPU by the documented call with a device, wherever the array is."""
        raise Unsupported(f"{self.name} has no import that accepts a device")

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        """Import several arrays, each from the given GPU, as one object. Return its elements, array by array."""
        raise Unsupported(f"{self.name} has no call that accepts several arrays")

    # Exchange

    def lent(self, array: Any) -> tuple[Any, str]:
        """Return a view of an array by a call of the library that uses no protocol, and the name of that call.

        The suite compares how such a view keeps memory alive.
        """
        raise Unsupported(f"{self.name} has no such call")

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        """Return the library's object that offers the protocol (CV-CUDA: ``tensor.cuda()``)."""
        return array

    def native(self, array: Any, protocol: Protocol) -> Any:
        """Return the object that users pass to other libraries: the array itself, or the object that offers the protocols for it."""
        return array

    def operable(self, taken: Any) -> Any:
        """Return the result of one of the :attr:`calls` in the form that the library's own operations accept."""
        return taken

    def subclassed(self, array: Any, asked: Callable[[], None]) -> Any:
        """Return the array as an instance of a subclass. Its ``__dlpack__`` calls ``asked`` and raises ``BufferError``."""
        raise Unsupported(f"arrays of {self.name} cannot be subclassed")

    def tabled(self, array: Any) -> Any:
        """Return an object of the type that offers DLPack's C exchange API, if this version has it (DLX-01)."""
        return self.exporter(array, Protocol.DLPACK)

    def offer(self, array: Any, protocol: Protocol) -> Offer:
        """Return an object that offers the array by this protocol only."""
        exporter = self.exporter(array, protocol)
        return DLPackOffer(exporter) if protocol is Protocol.DLPACK else CAIOffer(exporter)

    @abstractmethod
    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Import with the library's documented call. The library's own exception propagates."""

    def take_capsule(self, capsule: Any) -> Any:
        """Import a bare capsule."""
        raise Unsupported(f"{self.name} has no call for bare capsules")

    @contextmanager
    def telling(self, change: Callable[[str], str]) -> Iterator[str]:
        """Make the library report another version within a ``with`` block: the result of ``change`` for the true one.

        Yield that version.
        """
        module = self.module()
        true = getattr(module, "__version__", None)
        if not isinstance(true, str):
            raise Unsupported(f"{self.name} has no version in `__version__`")
        reported = type(true)(change(true))
        module.__version__ = reported
        try:
            yield reported
        finally:
            module.__version__ = true

    def let_go(self) -> str | None:
        """Make the library release its caches by its documented call. Return the call as text, or ``None`` if there is none."""
        return None

    def kept_for_later(self) -> int | None:
        """Return the number of objects in the library's cache, by its own call, or ``None`` if it does not report that."""
        return None

    def module(self) -> Any:
        """Return the library's module, for its documented calls."""
        self.load()
        return importlib.import_module(self.name)


def installed(distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the installed ones among these distributions."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def by_keywords(traits: frozenset[Trait], function: Any) -> frozenset[Trait]:
    """Return these traits without those that need a keyword which this ``from_dlpack`` does not accept."""
    try:
        keywords = inspect.signature(function).parameters.keys()
    except ValueError:  # a built-in function of an older version has no signature
        keywords = {}.keys()
    missing = {trait for trait, keyword in _KEYWORDS.items() if keyword not in keywords}
    return traits - missing


_KEYWORDS = {Trait.COPY_KEYWORD: "copy", Trait.DEVICE_KEYWORD: "device"}


def refusing(base: type, asked: Callable[[], None]) -> type:
    """Return a subclass with a ``__dlpack__`` that calls ``asked`` and raises ``BufferError``."""

    def __dlpack__(self: Any, **keywords: Any) -> Any:
        asked()
        raise BufferError("this class exports nothing")

    return type("Refusing", (base,), {"__dlpack__": __dlpack__})


def last_address(view: View) -> int:
    """Return the address of the last element of an array that has elements."""
    return view.address + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides))


def poke(address: int, data: bytes, device: Device) -> None:
    """Write bytes at an address of this device without the library. The write is done on return."""
    if device is Device.CUDA:
        cuda_memory.write(address, data)
    else:
        ctypes.memmove(address, data, len(data))


def peek(address: int, nbytes: int, device: Device) -> bytes:
    """Read bytes at an address of this device without the library, after all pending work."""
    if device is Device.CUDA:
        return cuda_memory.read(address, nbytes)
    return ctypes.string_at(address, nbytes) if nbytes else b""
