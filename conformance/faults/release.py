"""Faults of the family ``release``: refusals with an exception class that a release of the library has replaced."""

from __future__ import annotations

from typing import Any

from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.reference.importer import Importer

from . import fault

_MOST = 64


@fault("release.buffer-error")
class DevicesByRuntimeError(Importer):
    """Refuses an unsupported device with ``RuntimeError``, as an older release did."""

    def check_device(self, device: Any) -> None:
        try:
            super().check_device(device)
        except BufferError as error:
            raise RuntimeError(str(error)) from error


@fault("release.buffer-error")
class TypesByTypeError(Importer):
    """Refuses an unsupported element type with ``TypeError``."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        try:
            return super().dl_dtype(tensor)
        except BufferError as error:
            raise TypeError(str(error)) from error


@fault("release.buffer-error")
class RanksByValueError(Importer):
    """Refuses an array with too many dimensions with ``ValueError``."""

    def check_extents(self, tensor: Tensor) -> None:
        if len(tensor.shape) > _MOST:
            raise ValueError(f"{len(tensor.shape)} dimensions are too many")
        super().check_extents(tensor)
