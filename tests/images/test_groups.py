"""Layers: what many cells have alike comes first, and the same pins are the same layer."""

from __future__ import annotations

import pytest
from samples import pins

from conformance.images.groups import Group, group_of, parted


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("nvidia-cublas-cu12", Group.CUDA_LIBRARIES),
        ("nvidia-cublas", Group.CUDA_LIBRARIES),
        ("nvidia-nvjitlink", Group.CUDA_LIBRARIES),
        ("cuda-toolkit", Group.CUDA_LIBRARIES),
        ("nvidia-cudnn-cu13", Group.TORCH),
        ("nvidia-cusparselt-cu12", Group.TORCH),
        ("triton", Group.TORCH),
        ("cupy-cuda12x", Group.CUPY),
        ("cvcuda-cu13", Group.CVCUDA),
        ("pycuda", Group.PYCUDA),
        ("numpy", Group.REST),
        ("cuda-bindings", Group.REST),
    ],
)
def test_every_package_has_a_layer(name: str, group: Group) -> None:
    """The CUDA libraries that torch pins for all lie below torch; what torch alone needs lies with it."""
    assert group_of(name) is group


def test_the_groups_are_the_lock_and_nothing_twice() -> None:
    """Nothing is lost between the layers."""
    lock = pins("numpy==2", "torch==2.15.0", "nvidia-cublas==13", "pycuda==2026.1", "cupy-cuda13x==14")
    found = [pin for group in parted(lock).values() for pin in group]
    assert sorted(found) == sorted(lock)
