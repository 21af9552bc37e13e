"""``import pycuda.autoinit``: makes the context."""

from __future__ import annotations

from conformance.selftest.make_believe import programs

programs.modules()["pycuda"].autoinit()
