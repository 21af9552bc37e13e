"""Faults of the family ``release``: exceptions of the classes that a release has given up."""

from __future__ import annotations

from typing import Any

from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.reference.importer import Importer

from . import fault

_MOST = 64


@fault("release.buffer-error")
class DevicesByRuntimeError(Importer):
    """A device that is not supported is refused with ``RuntimeError``, as before."""

    def check_device(self, device: Any) -> None:
        """The right answer in the words of an older release."""
        try:
            super().check_device(device)
        except BufferError as error:
            raise RuntimeError(str(error)) from error


@fault("release.buffer-error")
class TypesByTypeError(Importer):
    """An element type that is not supported is refused with ``TypeError``."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """The right answer in other words."""
        try:
            return super().dl_dtype(tensor)
        except BufferError as error:
            raise TypeError(str(error)) from error


@fault("release.buffer-error")
class RanksByValueError(Importer):
    """More dimensions than there is room for are refused with ``ValueError``."""

    def check_extents(self, tensor: Tensor) -> None:
        """A limit of its own."""
        if len(tensor.shape) > _MOST:
            raise ValueError(f"{len(tensor.shape)} dimensions are too many")
        super().check_extents(tensor)
