"""Make-believe third-party libraries: adapters that announce themselves as an installed package would."""

from __future__ import annotations

from pathlib import Path

from conformance.selftest.make_believe.installing import announce

ADAPTER = """
import os, signal, sys, time
from dataclasses import replace
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.base import Device, Protocol
from conformance.adapters.special import Foreign, State
from conformance.protocols.dtypes import DLCode, DType
from conformance.reference.exporter import Exporter

class Adapter(ReferenceAdapter):
    name = "{name}"
    distributions = ("{name}-library",)
    preload = ()
    exports = {{Device.HOST: (Protocol.DLPACK,)}}
    imports = {{Device.HOST: (Protocol.DLPACK,)}}
    candidate_dtypes = ("float32", "uint8", "complex128")

    def load(self):
        {load}

{declared}

    def take(self, offer, protocol, device, **keywords):
        {take}
        return super().take(offer, protocol, device, **keywords)
"""


def install(folder: Path, name: str, *, take: str = "pass", load: str = "pass", declared: str = "") -> Path:
    """Put a library into a folder for ``PYTHONPATH``: the reference, with a line of its own in ``take`` or ``load``.

    ``declared`` are lines of the class of its adapter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_module.py").write_text(ADAPTER.format(name=name, take=take, load=load, declared=declared))
    announce(folder, name, f"{name}_module:Adapter")
    return folder
