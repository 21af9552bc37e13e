"""Declarations of adapters for any version of their libraries, read in a separate process.

``python -m conformance.execution.adapter_declarations NAME ANSWER`` writes a line of JSON to ANSWER. It loads no library. The
separate process is necessary because the module of an adapter can run any code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Trait
from conformance.checks.exchange import brief
from conformance.checks.expectations import ANY
from conformance.checks.layouts import LAYOUTS
from conformance.checks.libraries import Library, Side

from . import answers


def library(name: str) -> Library:
    """Return the library with everything that its adapter declares, on the devices of a machine with a GPU."""
    try:
        adapter = registry.create(name)
        versions = dict.fromkeys(adapter.distributions, ANY)
        sides = {device: _side(adapter, device) for device in (Device.HOST, Device.CUDA) if _has(adapter, device)}
        return Library(name, versions, frozenset(adapter.traits | {Trait.EXCHANGE_API}), None, sides)
    except BaseException as error:  # third-party code can raise anything
        return Library.not_trusted(name, {}, f"importing it raises {brief(error)}")


def _has(adapter: Adapter, device: Device) -> bool:
    return device in adapter.exports or device in adapter.imports


def _side(adapter: Adapter, device: Device) -> Side:
    return Side(
        dtypes=adapter.candidate_dtypes,
        layouts=tuple(LAYOUTS),
        exports=adapter.exports.get(device, ()),
        imports=adapter.imports.get(device, ()),
    ).with_special(adapter, device)


def main(name: str, answer: str) -> None:
    """Write the declaration of the adapter to the file ``answer``, and exit."""
    found: dict[str, Any] = library(name).to_json()
    answers.say(Path(answer), found)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
