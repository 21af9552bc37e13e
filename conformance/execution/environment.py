"""What is installed here and what of it works: every library, and every candidate, is looked at in a process of its own, side by side."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import conformance
from conformance import shapes
from conformance.adapters import registry
from conformance.adapters.base import Device, Protocol, Trait
from conformance.suite import children
from conformance.suite.libraries import Environment, Library

from . import candidates, crash_trace
from .adapter_bench import EITHER
from .probe import CHECKING, DRIVER, machine_facts

PROBE_SECONDS = 120
_TAIL = 600


_REASONS = shapes.Each(str)
_PROTOCOLS = [frozenset(protocol.value for protocol in Protocol)]
_SIDE = {
    "dtypes": [str],
    "layouts": [str],
    "exports": _PROTOCOLS,
    "imports": _PROTOCOLS,
    **dict.fromkeys(("missing_dtypes", "missing_layouts"), _REASONS),
}
_LIBRARY = {
    "name": str,
    "versions": _REASONS,
    "traits": [frozenset(trait.value for trait in Trait)],
    "absent": (None, str),
    "untrusted": shapes.Maybe((None, str)),
    "unusable": _REASONS,
    "devices": shapes.Each(_SIDE, frozenset(device.value for device in Device)),
}
_DRIVER = (
    {"available": True, "driver_version": (None, str), "driver_cuda_version": str, "gpus": [{"name": str}]},
    {"available": False, "reason": str},
)
SHAPE = {
    "suite": str,
    "python": str,
    **dict.fromkeys(("implementation", "platform", "machine"), shapes.Maybe(str)),
    "driver": _DRIVER,
    "candidates": shapes.Maybe([{}]),
    "libraries": [_LIBRARY],
}
"""What ``environment.json`` has to have."""


@dataclass(frozen=True)
class Facts:
    """The environment as it was measured; ``to_json`` is ``environment.json``."""

    environment: Environment
    driver: dict[str, Any]
    candidates: tuple[dict[str, Any], ...] = ()
    """What became of each candidate that stands in this cell (``candidates.py``)."""
    machine: Mapping[str, Any] = field(default_factory=machine_facts)
    """Python's version and the like."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "suite": conformance.__version__,
            **self.machine,
            "driver": self.driver,
            "candidates": list(self.candidates),
            "libraries": [library.to_json() for library in self.environment.libraries],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Facts:
        """The reverse of :meth:`to_json`."""
        libraries = tuple(Library.from_json(d) for d in data["libraries"])
        found = _facts(libraries, data["driver"], tuple(data.get("candidates", ())))
        return replace(found, machine={key: data[key] for key in machine_facts() if key in data})


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two environments, as in ``environment.json``, do not have in common, each in a few words."""
    found = [f"{key} {now.get(key)} instead of {before[key]}" for key in before if _differs(key, before, now)]
    there = {library["name"]: library for library in now["libraries"]}
    for library in before["libraries"]:
        other = there.get(library["name"], {})
        found += [
            f"{library['name']}: {key} {other.get(key)} instead of {library[key]}"
            for key in ("versions", "absent", "unusable", "devices", "traits")
            if other.get(key) != library[key]
        ]
    return found


def _differs(key: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    return key != "libraries" and before[key] != now.get(key)


def measure(names: tuple[str, ...] | None = None) -> Facts:
    """Probe these libraries (all that are known, if ``None``) and the driver."""
    chosen = registry.names() if names is None else names
    folders = children.candidates()
    with ThreadPoolExecutor(max_workers=len(chosen) + len(folders) + 1) as pool:
        driver = pool.submit(_driver)
        placed = [pool.submit(_candidate, folder) for folder in folders]
        libraries = tuple(pool.map(_library, chosen))
    return _facts(libraries, driver.result(), tuple(found.result() for found in placed))


def _facts(libraries: tuple[Library, ...], driver: dict[str, Any], placed: tuple[dict[str, Any], ...]) -> Facts:
    """The number of GPUs stands among what the driver tells."""
    return Facts(Environment(libraries, len(driver.get("gpus", ()))), driver, placed)


def _driver() -> dict[str, Any]:
    found = _probe(DRIVER)
    return {"available": False, "reason": found["reason"]} if "ended" in found else found


def _candidate(folder: str) -> dict[str, Any]:
    found = _probe(folder, "conformance.execution.candidates")
    return found if "folder" in found else candidates.died(folder, found["reason"])


def _library(name: str) -> Library:
    """An adapter, or a library, that ends its process is there and cannot be tested."""
    found = _probe(name)
    if "name" in found:
        return Library.from_json(found)
    doing = found.get(CHECKING) or "it is looked at"
    return Library.not_trusted(name, {}, f"while {doing}, its process {found['ended']}{EITHER}")


def _probe(name: str, module: str = "conformance.execution.probe") -> dict[str, Any]:
    """The probe's JSON, or a ``reason`` if its process died, hung or printed none."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            done = subprocess.run(
                [children.python(), "-m", module, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=PROBE_SECONDS,
                env=children.environment(PYTHONFAULTHANDLER="1"),
                cwd=children.folder(),
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return _dead(name, f"did not end within {PROBE_SECONDS} s", late.stdout)
        facts = _said(done.stdout)
        if facts and CHECKING not in facts:
            return facts
        errors.seek(0)
        died = (
            f"died with signal {-done.returncode}" if done.returncode < 0 else f"ended with exit code {done.returncode}"
        )
        return _dead(name, died, done.stdout, errors.read())


def _dead(name: str, ended: str, said: str | bytes | None, errors: str = "") -> dict[str, Any]:
    """What is known of a library whose probe has ended in this way: its last words, and what it was trying of the adapter, if it was."""
    words, _ = crash_trace.parted(errors)
    tail = " ".join(words[-_TAIL:].split())
    notes = crash_trace.evidence(errors)
    where = "".join(f" ({notes[key]})" for key in ("terminate", "frame") if key in notes)
    reason = f"the probe of {name} {ended}{': ' if tail else ''}{tail}"
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return {"available": False, "reason": reason, "ended": f"{ended}{where}", **_said(text)}


def _said(text: str) -> dict[str, Any]:
    """The last line of a probe: what it has found out, or what it tried when it ended. A library may have written others."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.keys() & _SAID:
            return found
    return {}


_SAID = {CHECKING, "name", "available", "folder"}
"""Keys by which the line of a probe is known: of an adapter's trial, of a library, of the driver, of a candidate."""
