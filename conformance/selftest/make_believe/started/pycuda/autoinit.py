"""``import pycuda.autoinit``, which creates the context."""

from __future__ import annotations

from conformance.selftest.make_believe import programs

programs.modules()["pycuda"].autoinit()
