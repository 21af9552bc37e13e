"""Import the modules of a single library, and report the effects on the process."""

from __future__ import annotations

import importlib
import sys

from conformance.checks.children import EXITING

from . import importing, tell

MODULES = {
    "pycuda": ("pycuda.driver", "pycuda.gpuarray"),
    "cuda_python": ("cuda.bindings.driver", "cuda.bindings.runtime", "cuda.core"),
    "jax": ("jax", "jax.dlpack"),
}
"""The modules of a library, if they are not the one with the adapter's name."""


def main(name: str) -> None:
    """Import the library, and report whether the GIL is enabled and which CUDA contexts exist."""
    tell(step=f"the import of {name}")
    with importing(name):
        for module in MODULES.get(name, (name,)):
            importlib.import_module(module)
    tell(gil=getattr(sys, "_is_gil_enabled", lambda: True)())
    tell(step="a question to the driver")
    contexts()
    tell(step=EXITING)


def contexts() -> None:
    """Report the current and the primary CUDA context. Without a driver, report nothing."""
    from conformance.cuda import context, driver

    try:
        driver.library()
    except driver.DriverUnavailable:
        return
    tell(current=context.current(), primary=context.primary_is_active())


if __name__ == "__main__":
    main(sys.argv[1])
