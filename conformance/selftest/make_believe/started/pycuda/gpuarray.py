"""``import pycuda.gpuarray``."""

from __future__ import annotations

from typing import Any

from conformance.selftest.make_believe import programs


def __getattr__(name: str) -> Any:
    return getattr(programs.modules()["pycuda"].gpuarray, name)
