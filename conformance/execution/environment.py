"""Measurement of the environment: each library, and each candidate, is probed in a separate process, all at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import conformance
from conformance import private, shapes, temporary
from conformance.adapters import registry
from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks import children, signal_senders
from conformance.checks.libraries import INSTALLED, Environment, Library

from . import answers, candidates, crash_trace, fingerprint
from .adapter_bench import EITHER
from .probe import CHECKING, CONTENTS, DRIVER, machine_facts

PROBE_SECONDS = 120
SUITE = "suite"
"""Key of the suite's own files in ``contents.json``."""
_TRIES = 3
"""Number of runs of a probe that signals may end."""
_FAULTS = 2
"""Number of runs that must end by a fault, such as SIGSEGV, before the library counts as faulty."""
UNKNOWN = "unknown"
"""Key of the reason why it is unknown whether this machine has a GPU."""
KILLED = "killed"
"""Key of the signal with which other processes ended every probe."""
_CODE = "exit code"
_TAIL = 600
"""Number of characters of a probe's last output that a message quotes."""
_WORDS = 1 << 20
"""Number of bytes of a probe's output that are read."""


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
    "files": shapes.Maybe((None, str)),
    "devices": shapes.Each(_SIDE, frozenset(device.value for device in Device)),
}
_DRIVER = (
    {"available": True, "driver_version": (None, str), "driver_cuda_version": str, "gpus": [{"name": str}]},
    {"available": False, "reason": str},
)
SHAPE = {
    "suite": str,
    "suite_files": shapes.Maybe((None, str)),
    "python": str,
    **dict.fromkeys(("implementation", "platform", "machine"), shapes.Maybe(str)),
    "driver": _DRIVER,
    "candidates": shapes.Maybe([{}]),
    "libraries": [_LIBRARY],
}
"""Expected shape of ``environment.json``."""


@dataclass(frozen=True)
class Facts:
    """The measured environment. ``to_json`` is ``environment.json``."""

    environment: Environment
    driver: dict[str, Any]
    candidates: tuple[dict[str, Any], ...] = ()
    """State of each candidate of this cell (``candidates.py``)."""
    machine: Mapping[str, Any] = field(default_factory=machine_facts)
    """Version of Python, operating system and processor."""
    contents: Mapping[str, fingerprint.Contents] = field(default_factory=dict, compare=False)
    """Digest of each file of each library and, under ``suite``, of this suite, if measured; not part of ``to_json``."""
    suite_files: str | None = None
    """Digest of the files of this copy of the suite."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``environment.json``."""
        return {
            "suite": conformance.__version__,
            "suite_files": self.suite_files,
            **self.machine,
            "driver": self.driver,
            "candidates": list(self.candidates),
            "libraries": [library.to_json() for library in self.environment.libraries],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Facts:
        """Return the facts from the content of ``environment.json``."""
        libraries = tuple(Library.from_json(d) for d in data["libraries"])
        found = _facts(libraries, data["driver"], tuple(data.get("candidates", ())))
        return replace(
            found,
            suite_files=data.get("suite_files"),
            machine={key: data[key] for key in machine_facts() if key in data},
        )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences between two environments, as in ``environment.json``, each in a few words."""
    found = [f"{key} is {now.get(key)}, but was {before[key]}" for key in before if _differs(key, before, now)]
    there = {library["name"]: library for library in now["libraries"]}
    for library in before["libraries"]:
        other = there.get(library["name"], {})
        found += [
            f"{library['name']}: {key} is {other.get(key)}, but was {library[key]}"
            for key in ("versions", "absent", "unusable", "devices", "traits")
            if other.get(key) != library[key]
        ]
    return found


def _differs(key: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    return key not in ("libraries", "suite_files") and before[key] != now.get(key)


def rebuilt(before: dict[str, Any], contents: Mapping[str, fingerprint.Contents], now: Facts) -> list[str]:
    """Return a sentence for each library, and for the suite, with files that differ although the versions are equal.

    ``before`` is an ``environment.json`` and ``contents`` the ``contents.json`` beside it, which may be incomplete.
    Each sentence names the first file that differs.
    """
    then = {SUITE: before.get("suite_files"), **{one["name"]: one.get("files") for one in before["libraries"]}}
    files = {SUITE: now.suite_files, **{library.name: library.files for library in now.environment.libraries}}
    changed = [name for name in then if then[name] and files.get(name) and then[name] != files[name]]
    return [f"{name} was rebuilt: {_first(contents.get(name), now.contents.get(name))}" for name in changed]


def _first(before: fingerprint.Contents | None, now: fingerprint.Contents | None) -> str:
    found = fingerprint.first_difference(before, now) if before and now else ""
    return found or "its files differ, but the file with their digests is missing"


def measure(names: tuple[str, ...] | None = None) -> Facts:
    """Probe the driver and these libraries, or all known libraries if ``names`` is ``None``."""
    chosen = registry.names() if names is None else names
    folders = children.candidates()
    with (
        private.folder() as neutral,
        ThreadPoolExecutor(max_workers=len(chosen) + len(folders) + 1) as pool,
    ):
        driver = pool.submit(_driver, neutral)
        placed = [pool.submit(_candidate, folder, neutral) for folder in folders]
        looked_at = tuple(pool.map(partial(_library, neutral=neutral), chosen))
        told = driver.result(), tuple(one.result() for one in placed)
    found = _facts(tuple(library for library, _ in looked_at), *told)
    suite = fingerprint.of_trees([Path(conformance.__file__).parent])
    contents = {SUITE: suite, **{library.name: files for library, files in looked_at if files}}
    return replace(found, contents=contents, suite_files=fingerprint.digest(suite))


def _facts(libraries: tuple[Library, ...], driver: dict[str, Any], placed: tuple[dict[str, Any], ...]) -> Facts:
    """Return the facts. The driver reports the number of GPUs."""
    return Facts(Environment(libraries, len(driver.get("gpus", ()))), driver, placed)


def _driver(neutral: Path) -> dict[str, Any]:
    found = _probe(DRIVER, neutral)
    if "ended" not in found:
        return found
    return {
        "available": False,
        "reason": found["reason"],
        UNKNOWN: "the process that queries the driver " + found["ended"],
    }


def _candidate(folder: str, neutral: Path) -> dict[str, Any]:
    found = _probe(folder, neutral, "conformance.execution.candidates")
    return found if "folder" in found else candidates.died(folder, found["reason"])


def _library(name: str, neutral: Path) -> tuple[Library, fingerprint.Contents]:
    """Return a library and its contents.

    If the adapter or the library ends the probe, the library counts as installed but impossible to test, without
    contents.
    """
    found = _probe(name, neutral)
    if "name" in found:
        return Library.from_json(found), found.get(CONTENTS, {})
    if KILLED in found:
        why = f"{INSTALLED} {found[KILLED]} ended its probe {_TRIES} times; the sender is unknown, so check the memory limit and the library"
        return Library(name, {}, absent=why, unusable=dict.fromkeys((device.value for device in Device), why)), {}
    doing = found.get(CHECKING) or "it is probed"
    return Library.not_trusted(name, {}, f"while {doing}, its process {found['ended']}{EITHER}"), {}


def declared(name: str) -> Library:
    """Return what an adapter declares for any version of its library.

    If the adapter ends its process, the library is absent, with the reason.
    """
    with private.folder() as neutral:
        found = _probe(name, neutral, "conformance.execution.adapter_declarations")
    return Library.from_json(found) if "name" in found else Library.not_trusted(name, {}, found["reason"])


def _probe(name: str, neutral: Path, module: str = "conformance.execution.probe") -> dict[str, Any]:
    """Run :func:`_probed`, and repeat a probe that a signal ended.

    An operator or the kernel's out-of-memory killer can send a signal, so a fault has to occur twice. The result of a
    probe that only signals of other processes ended has the key ``KILLED``.
    """
    faults = 0
    for _ in range(_TRIES):
        found = _probed(name, neutral, module)
        number = -found.pop(_CODE, 0)
        faults += number in signal_senders.FAULTS
        if number <= 0 or faults == _FAULTS:
            return found
    return found if faults else {**found, KILLED: signal_senders.name_of(number)}


def _probed(name: str, neutral: Path, module: str) -> dict[str, Any]:
    """Return the last answer of a probe, or a ``reason`` if its process crashed, hung or gave no answer.

    For a process that died the result also has the exit code. The probe runs in the folder ``neutral``. Raises
    :class:`NoTemporaryFiles`.
    """
    with private.folder() as ours:
        answer = ours / "answers"
        with temporary.room():
            answers.prepare(answer)
            words = open(ours / "words", "w+b")  # noqa: SIM115 - closed below
        with words:
            process = children.start(
                module, name, str(answer), folder=neutral, output=words, variables={"PYTHONFAULTHANDLER": "1"}
            )
            code = None
            try:
                code = process.wait(PROBE_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _stop(process)
            facts = _newest(answer)
            if facts and CHECKING not in facts:
                return facts
            said = children.tail(words, _WORDS)
            if code is None:
                return _dead(name, f"did not end within {PROBE_SECONDS} s", facts, said)
            return {**_dead(name, _ended(code), facts, said), _CODE: code}


def _ended(code: int) -> str:
    return f"died with signal {-code}" if code < 0 else f"ended with exit code {code}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and all processes that the library started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _newest(answer: Path) -> dict[str, Any]:
    """Return the newest answer of a process, merged with the contents of the library if an answer has them."""
    told = answers.told(answer)
    contents = [line for line in told if CONTENTS in line]
    others = [line for line in told if CONTENTS not in line]
    return {**others[-1], **(contents[-1] if contents else {})} if others else {}


def _dead(name: str, ended: str, said: dict[str, Any], errors: str = "") -> dict[str, Any]:
    """Return the facts about a library after the end of its probe: its last output, and the step of the adapter check, if one was running."""
    words, _ = crash_trace.parted(errors)
    tail = " ".join(words[-_TAIL:].split())
    notes = crash_trace.evidence(errors)
    where = "".join(f" ({notes[key]})" for key in ("terminate", "frame") if key in notes)
    reason = f"the probe of {name} {ended}{': ' if tail else ''}{tail}"
    return {"available": False, "reason": reason, "ended": f"{ended}{where}", **said}
