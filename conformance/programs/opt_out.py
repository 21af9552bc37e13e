"""Report the dictionary that CuPy publishes and the waits of its imports, with or without its CUDA Array Interface switches."""

from __future__ import annotations

import os
import sys
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.exchange import brief
from conformance.ordering.handover import Forward, How, Setting, Without
from conformance.ordering.observation import observe

from . import gpu_alone, importing, tell

SWITCHES = {
    "wait": ("CUPY_CUDA_ARRAY_INTERFACE_SYNC", "0"),
    "version": ("CUPY_CUDA_ARRAY_INTERFACE_EXPORT_VERSION", "2"),
}


def main(switch: str, device: Device = Device.CUDA) -> None:
    """Set the switch before the import of CuPy, observe CuPy, and report the result."""
    for variable, _ in SWITCHES.values():
        os.environ.pop(variable, None)
    if switch in SWITCHES:
        variable, value = SWITCHES[switch]
        os.environ[variable] = value
    try:
        cupy = registry.create("cupy")
        with importing("cupy"):
            cupy.load()
        with gpu_alone():
            tell(**_look(cupy, device))
    except Exception as error:
        tell(trouble=brief(error))


def _look(cupy: Adapter, device: Device) -> dict[str, Any]:
    reference = ReferenceAdapter()
    own = Forward(Setting(cupy, reference, Protocol.CAI, device))
    described: dict[str, Any] = own.offer().__cuda_array_interface__
    setting = Setting(reference, cupy, Protocol.CAI, device, How.OUTSIDE)
    without = setting.but(without=Without.NO_STREAM)
    seen = observe(setting.streams, lambda: Forward(setting))
    control = observe(setting.streams, lambda: Forward(without))
    return {
        "version": described.get("version"),
        "stream": described.get("stream"),
        "seen": str(seen),
        "in_order": seen.in_order,
        "control": str(control),
        "overtakes": control.overtakes,
    }


if __name__ == "__main__":
    main(sys.argv[1])
