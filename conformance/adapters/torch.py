"""Adapter of PyTorch: DLPack on host and CUDA memory, the CUDA Array Interface on CUDA memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from conformance.cuda.memory import Kind
from conformance.cuda.streams import LEGACY
from conformance.protocols.dtypes import DTYPES, DLCode, DType
from conformance.protocols.strided import Broadcast, Index, Step

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, by_keywords, refusing
from .calls import ARRAY_INTERFACE, BUFFER, CAI, DLPACK, READONLY, Gets, Style, UserCall
from .making import array_makings
from .numpy import narrow_integer
from .special import Foreign
from .torch_changes import CHANGES
from .torch_states import MODULES, STATES


def _foreign(name: str, words: tuple[tuple[int, int], ...] = ()) -> Foreign:
    return Foreign(name, lambda adapter: adapter.torch.empty(3, dtype=getattr(adapter.torch, name)), words=words)


class TorchAdapter(Adapter):
    """PyTorch, by ``torch.from_dlpack`` and ``torch.as_tensor``."""

    name = "torch"
    distributions = ("torch",)
    preload = ("torch",)
    preload_for_states = MODULES
    traits = frozenset(
        {
            Trait.ARRAY_API, Trait.WRITES, Trait.KERNEL, Trait.COPY_KEYWORD, Trait.DEVICE_KEYWORD, Trait.CAPSULES,
            Trait.STRIDES, Trait.CONTIGUITY, Trait.EXTENT, Trait.PINNED, Trait.STREAMS, Trait.CURRENT_STREAM,
            Trait.FOREIGN_STREAM, Trait.GPUS, Trait.JOINS, Trait.ADDS, Trait.STACKS, Trait.COPIES, Trait.DEVICE_ATTRIBUTE,
            Trait.CHOOSES_STREAM, Trait.CACHE,
        }
    )  # fmt: skip
    exports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: (Protocol.DLPACK, Protocol.CAI)}
    imports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: (Protocol.DLPACK, Protocol.CAI)}
    made = array_makings("torch", "torch.float32", keywords=', device="«device»"')
    candidate_dtypes = tuple(DTYPES)
    narrow_dtypes = ("float4_e2m1fn",)
    foreign = (
        _foreign("bits8"),
        _foreign("bits16"),
        _foreign("int4", narrow_integer(DLCode.INT, 4)),
        _foreign("uint1", narrow_integer(DLCode.UINT, 1)),
    )
    states = tuple(STATES)
    calls = (
        UserCall(
            "torch.as_tensor", lambda adapter, thing, device: adapter.torch.as_tensor(thing, device=_place(device)),
            knows=(ARRAY_INTERFACE, CAI), may_copy=True,
            refuses=((READONLY, CAI),),  # "the read only flag is not supported, should always be False"
        ),
        UserCall(
            "torch.asarray", lambda adapter, thing, device: adapter.torch.asarray(thing, device=_place(device)),
            knows=(ARRAY_INTERFACE, BUFFER), may_copy=True, flattens=True,
        ),
        UserCall("torch.from_dlpack", lambda adapter, thing, device: adapter.torch.from_dlpack(thing), reads=DLPACK),
    )  # fmt: skip
    styles = (
        Style("torch.from_dlpack-capsule", Gets.CAPSULE, lambda adapter, capsule: adapter.torch.from_dlpack(capsule)),
        Style("torch.utils.dlpack.to_dlpack", Gets.OWN, lambda adapter, own: adapter.torch.utils.dlpack.to_dlpack(own)),
        Style("torch.asarray-copy-false", Gets.ARRAY, lambda adapter, thing: adapter.torch.asarray(thing, copy=False)),
    )
    subclasses = True
    changes = CHANGES

    def load(self) -> None:
        import torch

        self.torch = torch

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. Older versions have neither ``copy`` nor ``device`` in ``from_dlpack``."""
        return by_keywords(self.traits, self.torch.from_dlpack)

    def usable(self, device: Device) -> str | None:
        """Return the reason why CUDA does not work. It needs a build with CUDA and a driver that this build accepts."""
        if device is Device.HOST:
            return None
        if not self.torch.backends.cuda.is_built():
            return "this PyTorch was built without CUDA"
        try:
            self.torch.zeros(1, device="cuda")
        except (RuntimeError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        kind = getattr(self.torch, dtype.name, None)
        if not isinstance(kind, self.torch.dtype):
            raise Unsupported(f"PyTorch has no {dtype.name}")
        return self.torch.empty(shape, dtype=kind, device="cuda" if device is Device.CUDA else "cpu")

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Any:
        """Return the bytes as ``torch.float4_e2m1fn_x2``. Each of its elements is two of DLPack's."""
        pairs = self.torch.frombuffer(bytearray(data), dtype=self.torch.uint8).view(self.torch.float4_e2m1fn_x2)
        return pairs.cuda() if device is Device.CUDA else pairs

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Any:
        if kind is not Kind.PINNED:
            return super().empty_in(kind, dtype, shape)
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype.name), pin_memory=True)

    def view(self, array: Any, step: Step) -> Any:
        if isinstance(step, Index) and step.negative:
            raise Unsupported("PyTorch has no negative strides")
        return super().view(array, step)

    def transpose(self, array: Any, axes: tuple[int, ...]) -> Any:
        return array.permute(axes)

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        return array.expand(step.shape)

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        if any(s < 0 for s in strides):
            raise Unsupported("PyTorch has no negative strides")
        return array.as_strided(array.shape, tuple(s // array.element_size() for s in strides))

    def contiguous(self, array: Any) -> bool:
        return bool(array.is_contiguous())

    def extent(self, array: Any) -> tuple[int, int]:
        storage = array.untyped_storage()
        return storage.data_ptr(), storage.data_ptr() + storage.nbytes()

    def describe(self, array: Any) -> View:
        size = array.element_size()
        return View(
            address=array.data_ptr(),
            shape=tuple(array.shape),
            strides=tuple(s * size for s in array.stride()),
            dtype=str(array.dtype).removeprefix("torch."),
            device=(2, array.device.index or 0) if array.is_cuda else (3, 0) if array.is_pinned() else (1, 0),
        )

    def read(self, array: Any) -> bytes:
        """Copy to the host, then convert byte by byte: NumPy does not know every element type of PyTorch."""
        packed = array.detach().cpu().contiguous()
        if packed.numel() == 0:
            return b""
        flat = self.torch.as_strided(packed, (packed.numel(),), (1,))
        return bytes(flat.view(self.torch.uint8).numpy().tobytes())

    def write(self, array: Any, data: bytes) -> None:
        host = self.torch.frombuffer(bytearray(data), dtype=self.torch.uint8).view(array.dtype)
        array.copy_(host.reshape(array.shape))
        self._wait(array)

    def kernel_increment(self, array: Any) -> None:
        array.add_(1)
        self._wait(array)

    def add(self, first: Any, second: Any) -> Any:
        return self._finished(first + second)

    def stack(self, arrays: list[Any]) -> Any:
        return self._finished(self.torch.stack(arrays))

    def copied(self, array: Any) -> Any:
        """Return a clone in row-major order."""
        return self._finished(array.clone(memory_format=self.torch.contiguous_format))

    def device_of(self, array: Any) -> Any:
        return array.device

    def stream(self, device: Device) -> Any:
        """Return a stream from PyTorch's pool of non-blocking streams."""
        return self.torch.cuda.Stream()

    def default_stream(self, device: Device) -> Any:
        """Return the legacy default stream."""
        return self.torch.cuda.default_stream()

    def foreign_stream(self, handle: int, device: Device) -> Any:
        return self.torch.cuda.ExternalStream(handle)

    def current_stream(self, device: Device) -> int:
        return self.handle(self.torch.cuda.current_stream())

    def handle(self, stream: Any) -> int:
        """Return ``cuda_stream``, in which 0 is the legacy default stream."""
        return int(stream.cuda_stream) or LEGACY

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        made: AbstractContextManager[Any] = self.torch.cuda.stream(stream)
        return made

    def choose(self, stream: Any) -> None:
        self.torch.cuda.set_stream(stream)

    def fill(self, array: Any, value: int, stream: Any) -> None:
        with self.using(stream):
            array.fill_(value)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        with self.using(stream):
            into.copy_(array)

    def on_gpu(self, ordinal: int, device: Device) -> AbstractContextManager[Any]:
        made: AbstractContextManager[Any] = self.torch.cuda.device(ordinal)
        return made

    def take_on(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        """Import with an explicit device index, since a bare ``cuda`` means the current GPU for ``torch.as_tensor``."""
        if protocol is Protocol.DLPACK:
            return self.take(offer, protocol, device)
        return self.torch.as_tensor(offer, device=f"cuda:{ordinal}")

    def take_to(self, offer: Any, protocol: Protocol, device: Device, ordinal: int) -> Any:
        take = self.torch.from_dlpack if protocol is Protocol.DLPACK else self.torch.as_tensor
        return take(offer, device=f"cuda:{ordinal}")

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        return self.read(self.torch.stack([self.take_on(offer, protocol, device, gpu) for offer, gpu in parts]))

    def lent(self, array: Any) -> tuple[Any, str]:
        if array.is_cuda:
            return super().lent(array)
        return array.numpy(), "Tensor.numpy()"

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        if protocol is Protocol.DLPACK:
            return self.torch.from_dlpack(offer, **keywords)
        return self.torch.as_tensor(offer, device="cuda")

    def subclassed(self, array: Any, asked: Callable[[], None]) -> Any:
        return array.as_subclass(refusing(self.torch.Tensor, asked))

    def take_capsule(self, capsule: Any) -> Any:
        from torch.utils.dlpack import from_dlpack

        return from_dlpack(capsule)

    def _finished(self, array: Any) -> Any:
        self._wait(array)
        return array

    def _wait(self, array: Any) -> None:
        if array.is_cuda:
            self.torch.cuda.synchronize()


def _place(device: Device) -> str:
    """Return PyTorch's name of a device."""
    return "cuda" if device is Device.CUDA else "cpu"
