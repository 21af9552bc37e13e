"""What the suite asks of a library: make an array, show it by one protocol, take one, describe, read and write it.

An adapter is the only place that imports its library, and it imports it late.
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
    """By which protocol an array changes hands."""

    DLPACK = "dlpack"
    CAI = "cai"


class Device(str, Enum):
    """Where the elements lie. ``SIMULATED`` is host memory that claims to be CUDA: only the reference has it."""

    HOST = "host"
    CUDA = "cuda"
    SIMULATED = "simulated"

    @property
    def dlpack_type(self) -> int:
        """The plain DLPack device type of this place."""
        return 1 if self is Device.HOST else 2


class Trait(str, Enum):
    """What a library promises or can do, as far as a verdict depends on it."""

    ARRAY_API = "array-api"
    """Bound by the array API standard: every dtype of DLP-46 must go in and out."""
    IMMUTABLE = "immutable"
    """Its arrays cannot be written."""
    WRITES = "writes"
    """Has an operation that overwrites an array's elements."""
    KERNEL = "kernel"
    """Can run a kernel of its own on an array."""
    ADDS = "adds"
    """Adds two arrays."""
    STACKS = "stacks"
    """Makes one array of several, one behind the other."""
    COPIES = "copies"
    """Copies an array to another one of its own making."""
    DEVICE_ATTRIBUTE = "device-attribute"
    """Its arrays tell their device as an object that users compare."""
    READONLY = "readonly"
    """Knows read-only arrays."""
    COPY_KEYWORD = "copy-keyword"
    """Its ``from_dlpack`` takes ``copy=``."""
    DEVICE_KEYWORD = "device-keyword"
    """Its ``from_dlpack`` takes ``device=``."""
    CAPSULES = "capsules"
    """Has a call that takes a bare capsule."""
    PITCHED = "pitched"
    """Pads rows by itself."""
    STRIDES = "strides"
    """Makes views with strides of one's choice, in whole elements."""
    BYTE_STRIDES = "byte-strides"
    """As :attr:`STRIDES`, and a stride need not be a multiple of the element size."""
    CONTIGUITY = "contiguity"
    """Tells whether an array is C-contiguous."""
    EXTENT = "extent"
    """Knows how much memory lies behind an import."""
    PINNED = "pinned"
    """Allocates pinned host memory."""
    MANAGED = "managed"
    """Allocates managed memory."""
    POOL = "pool"
    """Allocates from a stream-ordered pool."""
    POINTER_ONLY = "pointer-only"
    """Has no call that makes an array of the array interface: its users build one on the published pointer by hand, and what
    else the dictionary says is theirs to honour."""
    KERNEL_ARGUMENTS = "kernel-arguments"
    """Its kernels take any object with the array interface as an argument."""

    VIEW_ONLY = "view-only"
    """Its import only describes the array: it has no views, and its user queues all work on it."""
    STREAMS = "streams"
    """Queues work on streams of its own making, and can say which one is current."""

    CURRENT_STREAM = "current-stream"
    """Has a current stream, or remembers on which one an array was written: its users name no stream when they export."""
    PER_THREAD_STREAM = "per-thread-stream"
    """Has an object for the per-thread default stream."""
    FOREIGN_STREAM = "foreign-stream"
    """Makes an object of its own for the bare handle of a stream that somebody else made."""
    CHOOSES_STREAM = "chooses-stream"
    """Has a call that makes a stream current until another one is chosen, without a block."""
    DEFAULT_TOKEN = "default-token"
    """Has one object for the default stream of whichever GPU is current, and records events on it."""
    STREAM_PROTOCOL = "stream-protocol"
    """Has a call that takes any object with ``__cuda_stream__``."""

    GPUS = "gpus"
    """Makes arrays and streams on any GPU, not only on the first."""
    JOINS = "joins"
    """Has a call that makes one object of several arrays."""

    CACHE = "cache"
    """Keeps the memory of device arrays that are gone, or the objects themselves, and makes new arrays of them."""

    THREADED = "threaded"
    """Runs threads of its own on host memory, and says that a fork of its process may hang."""

    EXCHANGE_API = "exchange-api"
    """The type of what it exports offers DLPack's C exchange API. Measured, never declared."""


class Unsupported(Exception):
    """The library has no such array, element type or operation. The text says which."""


@dataclass(frozen=True)
class View:
    """An array as its library describes it: address of element 0, strides in **bytes**, DLPack (type, id)."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None
    device: tuple[int, int] | None
    readonly: bool | None = None


def _unheard(*_: Any) -> None:
    """Nothing listens to an offer unless a case does."""


class DLPackOffer:
    """Shows only DLPack of an array, so that no consumer can take another way in.

    ``asked`` is called before the producer is asked for a capsule, ``answered`` with the capsule before the consumer gets it.
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
    """Shows only ``__cuda_array_interface__`` of an array. ``asked`` and ``answered`` are as in :class:`DLPackOffer`."""

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
    """One library. Class attributes are facts that hold for every version; a probe measures the rest."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    """Names on the package index, for the versions; the first one found counts."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Distributions that must be present for the library to count as installed; empty if any one of them is enough."""
    preload: ClassVar[tuple[str, ...]] = ()
    """Modules that may be imported before a fork: importing them touches neither CUDA nor threads."""
    preload_for_states: ClassVar[tuple[str, ...]] = ()
    """More such modules, which the library imports when its :attr:`states` are made."""
    traits: ClassVar[frozenset[Trait]] = frozenset()
    opt_out: ClassVar[int | None] = None
    """The ``stream`` in an array interface by which its importer, as documented, is told to wait for nothing (CAI-21)."""
    own_exporter: ClassVar[str] = ""
    """What shows the array interface of this library's arrays, if the suite wrote it and not the library: nobody answers for that."""
    exports: ClassVar[dict[Device, tuple[Protocol, ...]]]
    imports: ClassVar[dict[Device, tuple[Protocol, ...]]]
    candidate_dtypes: ClassVar[tuple[str, ...]]
    narrow_dtypes: ClassVar[tuple[str, ...]] = ()
    """Those of :data:`conformance.protocols.dtypes.NARROW` of which :meth:`narrow` makes arrays."""
    foreign: ClassVar[tuple[Foreign, ...]] = ()
    """Arrays of elements for which DLPack has no type code, or none that every library uses: the library refuses to export them."""
    states: ClassVar[tuple[State, ...]] = ()
    """Arrays that are more than their memory: the library resolves them or refuses to export them."""
    calls: ClassVar[tuple[UserCall, ...]] = ()
    """The public calls by which its users take objects of other libraries as they are."""
    styles: ClassVar[tuple[Style, ...]] = ()
    """Older styles of calling that versions of the library drop or add."""
    subclasses: ClassVar[bool] = False
    """Whether its users derive classes from its arrays, which :meth:`subclassed` does."""

    changes: ClassVar[tuple[Change, ...]] = ()
    """Operations on an array of this library after which it need not have its memory any more."""
    donations: ClassVar[tuple[Change, ...]] = ()
    """Calls by which the library uses the memory of an array, also of an import, for something else."""
    made: ClassVar[tuple[Making, ...]] = ()
    """Ways in which users make arrays, by calls of the library's own."""

    # -- loading

    @abstractmethod
    def load(self) -> None:
        """Import the library and touch whatever it needs to work; lets its own exception out."""

    def usable(self, device: Device) -> str | None:
        """``None`` if the library works on this device here, else the reason why not."""
        return None if device in self.exports or device in self.imports else f"{self.name} has no {device.value} arrays"

    def protocols(self, device: Device) -> tuple[tuple[Protocol, ...], tuple[Protocol, ...]]:
        """What the library exports and imports on this device, here and in this version."""
        return self.exports.get(device, ()), self.imports.get(device, ())

    def present_calls(self) -> tuple[UserCall, ...]:
        """Those of :attr:`calls` that can work in this environment. The suite asks after :meth:`load`."""
        return self.calls

    def present_traits(self) -> frozenset[Trait]:
        """Those of the traits that hold in this version."""
        return self.traits

    def versions(self) -> dict[str, str]:
        """Versions of the distributions that are installed."""
        return installed(self.distributions)

    # -- arrays of its own

    @abstractmethod
    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """A packed, writable array with undefined content; :class:`Unsupported` if the library has none."""

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        """A packed array whose elements have exactly these bytes, written by our own instruments."""
        made = self.empty(dtype, shape, device)
        if data:
            poke(self.describe(made).address, data, device)
        return made

    def empty_in(self, kind: cuda_memory.Kind, dtype: DType, shape: tuple[int, ...]) -> Any:
        """A packed array in another kind of memory than the usual, by the library's own call; content undefined."""
        raise Unsupported(f"{self.name} has no {kind.value} memory")

    def view(self, array: Any, step: Step) -> Any:
        """The library's own view; :class:`Unsupported` where it would copy or cannot."""
        if isinstance(step, Index):
            return array[step.keys]
        if isinstance(step, Transpose):
            return self.transpose(array, step.axes)
        return self.broadcast(array, step)

    def transpose(self, array: Any, axes: tuple[int, ...]) -> Any:
        """Permuted dimensions."""
        return array.transpose(axes)

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        """Extents of 1 repeated with stride 0."""
        raise Unsupported(f"{self.name} has no broadcast views")

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        """The library's own view of the same shape and first element with these strides in bytes."""
        raise Unsupported(f"{self.name} makes no views with strides of one's choice")

    @abstractmethod
    def describe(self, array: Any) -> View:
        """Address, shape, strides, element type and device by the library's own attributes."""

    def contiguous(self, array: Any) -> bool:
        """Whether the library takes the array for C-contiguous."""
        raise Unsupported(f"{self.name} does not tell whether an array is C-contiguous")

    def extent(self, array: Any) -> tuple[int, int]:
        """First byte, and one past the last, of the memory that the library believes is behind an import."""
        raise Unsupported(f"{self.name} does not tell how much memory is behind an array")

    @abstractmethod
    def read(self, array: Any) -> bytes:
        """The elements in row-major order, by the library's own copy to the host."""

    def last(self, array: Any) -> bytes:
        """The last element, read by the library; costs the same for an array of any size."""
        ndim = len(self.describe(array).shape)
        return self.read(self.view(array, Index((slice(-1, None),) * ndim)))

    def write(self, array: Any, data: bytes) -> None:
        """Overwrite all elements with these row-major bytes, by the library's own operation; finished on return."""
        raise Unsupported(f"{self.name} has no operation that writes an array")

    def kernel_increment(self, array: Any) -> None:
        """Add 1 to every element of a packed int32 array by a kernel of the library's own; finished on return."""
        raise Unsupported(f"{self.name} has no kernels")

    def add(self, first: Any, second: Any) -> Any:
        """A new array: the sums of the elements of two arrays of one shape and type, finished on return."""
        raise Unsupported(f"{self.name} does not add arrays")

    def stack(self, arrays: list[Any]) -> Any:
        """A new array with the elements of these, of one shape and type, one behind the other; finished on return."""
        raise Unsupported(f"{self.name} does not stack arrays")

    def copied(self, array: Any) -> Any:
        """A new array with the elements of this one, finished on return."""
        raise Unsupported(f"{self.name} does not copy arrays")

    def device_of(self, array: Any) -> Any:
        """The library's own object for the device of an array; equal ones are the same device."""
        raise Unsupported(f"arrays of {self.name} tell no device")

    def freeze(self, array: Any) -> None:
        """Make the array read-only in place."""
        raise Unsupported(f"{self.name} has no read-only arrays")

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Any:
        """A vector of elements narrower than a byte, of one of the :attr:`narrow_dtypes`; ``data`` has them packed from the low bits up.

        A library that keeps each element in a byte of its own makes the same elements.
        """
        raise Unsupported(f"{self.name} has no {dtype.name}")

    def make(self, making: Making, device: Device) -> Any:
        """An array as a user makes it; lets the library's own exception out."""
        return making.made(device, **{self.name: self.module()})

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """An array with padded rows, content undefined."""
        raise Unsupported(f"{self.name} does not pad rows")

    # -- streams

    def stream(self, device: Device) -> Any:
        """A new non-blocking stream of the library's own."""
        raise Unsupported(f"{self.name} has no streams")

    def default_stream(self, device: Device) -> Any:
        """The stream that is current when none has been chosen."""
        raise Unsupported(f"{self.name} has no streams")

    def foreign_stream(self, handle: int, device: Device) -> Any:
        """The library's own object for a stream that somebody else made."""
        raise Unsupported(f"{self.name} takes no streams that it has not made")

    def per_thread_stream(self, device: Device) -> Any:
        """The library's own object for the per-thread default stream."""
        raise Unsupported(f"{self.name} has no object for the per-thread default stream")

    def import_stream(self, source: Any, device: Device) -> Any:
        """The library's own stream on an object with ``__cuda_stream__`` (STR-04); lets its own exception out."""
        raise Unsupported(f"{self.name} has no call that takes an object with __cuda_stream__")

    def current_stream(self, device: Device) -> int:
        """Handle, as :meth:`handle` gives it, of the stream that is current in this thread."""
        raise Unsupported(f"{self.name} has no current stream")

    def handle(self, stream: Any) -> int:
        """The stream's ``cudaStream_t``: 1 and 2 are the default streams, as in the protocols."""
        raise Unsupported(f"{self.name} has no streams")

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        """Make a stream current in this thread, as the library's users do."""
        raise Unsupported(f"{self.name} has no current stream")

    def choose(self, stream: Any) -> None:
        """Make a stream current in this thread until another one is chosen."""
        raise Unsupported(f"{self.name} has no call that chooses a current stream")

    def wait_stream(self, waiter: Any, other: Any) -> None:
        """Have one stream of the library's own wait for another by its own call."""
        raise Unsupported(f"{self.name} has no call by which a stream waits for another")

    def recorded(self, stream: Any, device: Device) -> int | None:
        """Record an event on a stream by the library's own call and wait for it; the GPU whose event it says that it is, if it says that.

        Lets the library's own exception out.
        """
        raise Unsupported(f"{self.name} records no events")

    def operand(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """A packed array of (1, n, 1) elements as the library's own operations take it, content undefined."""
        return self.empty(dtype, shape, device)

    def take_operand(self, offer: Any, protocol: Protocol, device: Device) -> Any:
        """Import on the current stream as the library's own operations take it; lets its own exception out."""
        return self.take(offer, protocol, device)

    def take_argument(self, offer: Any, device: Device) -> Any:
        """What a kernel of the library's own is given in an array's place; :meth:`copy` reads it as it reads an import."""
        raise Unsupported(f"{self.name} has no kernels that take the array interface")

    def argument_address(self, argument: Any) -> int:
        """The address that a kernel of the library's own gets for what :meth:`take_argument` gave; lets its own exception out."""
        raise Unsupported(f"{self.name} has no kernels that take the array interface")

    def fill(self, array: Any, value: int, stream: Any) -> None:
        """Queue on a stream, by the library's own operation, that every int32 element becomes ``value`` (below 2**24)."""
        raise Unsupported(f"{self.name} has no operation that writes an array on a stream")

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        """Queue on a stream, by the library's own operation, a copy of int32 elements (below 2**24) to another operand."""
        raise Unsupported(f"{self.name} has no operation that reads an array on a stream")

    # -- GPUs

    def on_gpu(self, ordinal: int, device: Device) -> AbstractContextManager[Any]:
        """Make a GPU the current one in this thread, by the library's own call: arrays and streams are made on it.

        What was current before is current after.
        """
        raise Unsupported(f"{self.name} has no call that chooses a GPU")

    def take_on(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        """Import an array of which the user knows that it lies on this GPU, so that it stays there."""
        return self.take(offer, protocol, device)

    def take_to(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        """Import to this GPU, wherever the array lies, by the documented call with a device."""
        raise Unsupported(f"{self.name} has no import that takes a device")

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        """Import several arrays, each from the GPU named, and make one object of them: its elements, array by array."""
        raise Unsupported(f"{self.name} has no call that takes several arrays")

    # -- exchange

    def lent(self, array: Any) -> tuple[Any, str]:
        """A view of an array by a call of the library's own, outside of any protocol, and the call; to compare what it keeps."""
        raise Unsupported(f"{self.name} has no such call")

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        """The object of the library's own that carries the protocol (CV-CUDA: ``tensor.cuda()``)."""
        return array

    def native(self, array: Any, protocol: Protocol) -> Any:
        """The object that users of the library hand over: the array itself, or what carries the protocols in its place."""
        return array

    def operable(self, taken: Any) -> Any:
        """The result of one of the :attr:`calls`, as the library's own operations take it."""
        return taken

    def subclassed(self, array: Any, asked: Callable[[], None]) -> Any:
        """The array as an object of a derived class whose own ``__dlpack__`` calls ``asked`` and refuses with ``BufferError``."""
        raise Unsupported(f"nobody derives classes from arrays of {self.name}")

    def tabled(self, array: Any) -> Any:
        """The object whose type carries DLPack's C exchange API, if this version has it (DLX-01)."""
        return self.exporter(array, Protocol.DLPACK)

    def offer(self, array: Any, protocol: Protocol) -> Offer:
        """The array behind one protocol only."""
        exporter = self.exporter(array, protocol)
        return DLPackOffer(exporter) if protocol is Protocol.DLPACK else CAIOffer(exporter)

    @abstractmethod
    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Import with the library's documented call; lets its own exception out."""

    def take_capsule(self, capsule: Any) -> Any:
        """Import a bare capsule."""
        raise Unsupported(f"{self.name} has no call for bare capsules")

    @contextmanager
    def telling(self, change: Callable[[str], str]) -> Iterator[str]:
        """Inside, the library tells another version of itself, which ``change`` makes of the true one; gives that version."""
        module = self.module()
        true = getattr(module, "__version__", None)
        if not isinstance(true, str):
            raise Unsupported(f"{self.name} tells no version by `__version__`")
        told = type(true)(change(true))
        module.__version__ = told
        try:
            yield told
        finally:
            module.__version__ = true

    def let_go(self) -> str | None:
        """Have the library let go of what it only keeps for later, by its documented call; the call, if there is one."""
        return None

    def kept_for_later(self) -> int | None:
        """How many objects the library only keeps for later, by its own call; ``None`` if it does not tell."""
        return None

    def module(self) -> Any:
        """The library itself, for its documented calls."""
        self.load()
        return importlib.import_module(self.name)


def installed(distributions: tuple[str, ...]) -> dict[str, str]:
    """Versions of those of these distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def by_keywords(traits: frozenset[Trait], function: Any) -> frozenset[Trait]:
    """These traits, less those whose keyword this ``from_dlpack`` does not have."""
    try:
        keywords = inspect.signature(function).parameters.keys()
    except ValueError:  # a built-in function without a signature, as old versions have it
        keywords = {}.keys()
    missing = {trait for trait, keyword in _KEYWORDS.items() if keyword not in keywords}
    return traits - missing


_KEYWORDS = {Trait.COPY_KEYWORD: "copy", Trait.DEVICE_KEYWORD: "device"}


def refusing(base: type, asked: Callable[[], None]) -> type:
    """A class derived from this one whose own ``__dlpack__`` calls ``asked`` and refuses with ``BufferError``."""

    def __dlpack__(self: Any, **keywords: Any) -> Any:
        asked()
        raise BufferError("this class exports nothing")

    return type("Refusing", (base,), {"__dlpack__": __dlpack__})


def last_address(view: View) -> int:
    """Address of the last element of an array that has elements."""
    return view.address + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides))


def poke(address: int, data: bytes, device: Device) -> None:
    """Write bytes at an address of this device with our own instruments; done on return."""
    if device is Device.CUDA:
        cuda_memory.write(address, data)
    else:
        ctypes.memmove(address, data, len(data))


def peek(address: int, nbytes: int, device: Device) -> bytes:
    """Read bytes at an address of this device with our own instruments, after all pending work."""
    if device is Device.CUDA:
        return cuda_memory.read(address, nbytes)
    return ctypes.string_at(address, nbytes) if nbytes else b""
