"""How a lock is parted into layers.

An engine keeps a layer once for all images whose layers below it are the same too. So the groups are installed in this
order: first what is large and what many cells have alike, last what tells cells apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from conformance.matrix.lockfile import Pin


class Group(Enum):
    """A layer of the image; the value is how ``docker/install`` calls it."""

    CUDA_LIBRARIES = "cuda_libraries"
    """The CUDA libraries that several frameworks use. torch pins them, so cells that share torch share these."""
    TORCH = "torch"
    """torch, its compiler, and the NVIDIA libraries that it alone needs."""
    CUPY = "cupy"
    CVCUDA = "cvcuda"
    PYCUDA = "pycuda"
    """Source only; it is built in a stage of its own, and its wheel is installed with the rest."""
    REST = "rest"
    """NumPy, cuda-python, and everything small."""


WORDS = {
    Group.CUDA_LIBRARIES: "CUDA libraries",
    Group.TORCH: "torch",
    Group.CUPY: "CuPy",
    Group.CVCUDA: "CV-CUDA",
}
"""The layers, in words."""
_NAMES = {
    Group.CUDA_LIBRARIES: r"cuda-toolkit"
    r"|nvidia-(cublas|cuda-runtime|cuda-nvrtc|cufft|curand|cusolver|cusparse|nvjitlink)(-cu\d+)?",
    Group.TORCH: r"torch|triton|nvidia-.+|sympy|mpmath|networkx",
    Group.CUPY: r"cupy(-cuda\d+x)?",
    Group.CVCUDA: r"cvcuda(-cu\d+)?",
    Group.PYCUDA: r"pycuda",
}


def group_of(name: str) -> Group:
    """Where a package belongs."""
    return next((group for group, names in _NAMES.items() if re.fullmatch(names, name)), Group.REST)


def parted(pins: Iterable[Pin]) -> dict[Group, tuple[Pin, ...]]:
    """Every group, empty ones too, with its pins."""
    pins = tuple(pins)
    return {group: tuple(pin for pin in pins if group_of(pin.name) is group) for group in Group}


def requirements(pins: Iterable[Pin]) -> str:
    """A requirements file: the same pins give the same text, whatever the lock's comments say."""
    return "".join(f"{pin}\n" for pin in pins)
