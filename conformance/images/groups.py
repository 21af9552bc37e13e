"""Division of a lock file into image layers.

An engine stores a layer once for all images with the same layers below it. Therefore large packages that many cells share are
installed first, and packages that differ between cells last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from conformance.matrix.lockfile import Pin


class Group(Enum):
    """A layer of the image. The value is its name in ``docker/install``."""

    CUDA_LIBRARIES = "cuda_libraries"
    """The CUDA libraries that several frameworks use. torch pins them, so cells that share torch share these."""
    TORCH = "torch"
    """torch, its compiler, and the NVIDIA libraries that it alone needs."""
    CUPY = "cupy"
    CVCUDA = "cvcuda"
    PYCUDA = "pycuda"
    """Available only as source. A separate stage builds it, and its wheel is installed with the rest."""
    REST = "rest"
    """NumPy, cuda-python, and all small packages."""


WORDS = {
    Group.CUDA_LIBRARIES: "CUDA libraries",
    Group.TORCH: "torch",
    Group.CUPY: "CuPy",
    Group.CVCUDA: "CV-CUDA",
}
"""Names of the layers in messages."""
_NAMES = {
    Group.CUDA_LIBRARIES: r"cuda-toolkit"
    r"|nvidia-(cublas|cuda-runtime|cuda-nvrtc|cufft|curand|cusolver|cusparse|nvjitlink)(-cu\d+)?",
    Group.TORCH: r"torch|triton|nvidia-.+|sympy|mpmath|networkx",
    Group.CUPY: r"cupy(-cuda\d+x)?",
    Group.CVCUDA: r"cvcuda(-cu\d+)?",
    Group.PYCUDA: r"pycuda",
}


def group_of(name: str) -> Group:
    """Return the group of a package."""
    return next((group for group, names in _NAMES.items() if re.fullmatch(names, name)), Group.REST)


def parted(pins: Iterable[Pin]) -> dict[Group, tuple[Pin, ...]]:
    """Return the pins of every group, including empty groups."""
    pins = tuple(pins)
    return {group: tuple(pin for pin in pins if group_of(pin.name) is group) for group in Group}


def requirements(pins: Iterable[Pin]) -> str:
    """Return the text of a requirements file. The same pins always give the same text."""
    return "".join(f"{pin}\n" for pin in pins)
