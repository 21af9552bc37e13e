"""Import the modules of one library and nothing else, then tell what that did to this process."""

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
"""Where they are others than the one that is named like the adapter."""


def main(name: str) -> None:
    """Import; then ask the interpreter about its lock and the driver about contexts."""
    tell(step=f"the import of {name}")
    with importing(name):
        for module in MODULES.get(name, (name,)):
            importlib.import_module(module)
    tell(gil=getattr(sys, "_is_gil_enabled", lambda: True)())
    tell(step="a question to the driver")
    contexts()
    tell(step=EXITING)


def contexts() -> None:
    """Tell which contexts there are; nothing where there is no driver."""
    from conformance.cuda import context, driver

    try:
        driver.library()
    except driver.DriverUnavailable:
        return
    tell(current=context.current(), primary=context.primary_is_active())


if __name__ == "__main__":
    main(sys.argv[1])
