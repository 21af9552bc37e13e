"""Make-believe third-party libraries: adapters that announce themselves as an installed package would."""

from __future__ import annotations

import textwrap
from pathlib import Path

ADAPTER = """
import os, signal, sys, time
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.base import Device, Protocol

class Adapter(ReferenceAdapter):
    name = "{name}"
    distributions = ("{name}-library",)
    preload = ()
    exports = {{Device.HOST: (Protocol.DLPACK,)}}
    imports = {{Device.HOST: (Protocol.DLPACK,)}}
    candidate_dtypes = ("float32", "uint8", "complex128")

    def load(self):
        {load}

    def take(self, offer, protocol, device, **keywords):
        {take}
        return super().take(offer, protocol, device, **keywords)
"""


def install(folder: Path, name: str, *, take: str = "pass", load: str = "pass") -> Path:
    """Put a library into a folder for ``PYTHONPATH``: the reference, with a line of its own in ``take`` or ``load``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_module.py").write_text(ADAPTER.format(name=name, take=take, load=load))
    info = folder / f"{name}_library-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-library\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent(f"""\
            [cuda_interop_conformance.adapters]
            {name} = {name}_module:Adapter
            """)
    )
    return folder
