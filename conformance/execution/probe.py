"""Measurement of one library in a separate process.

``python -m conformance.execution.probe NAME ANSWER`` writes JSON to the file ANSWER.

The probe tries what a library can do: it allocates every element type and creates every layout once on every device. It
also verifies the declarations of the adapter (``adapter_check.py``).
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported
from conformance.checks.exchange import brief
from conformance.checks.layouts import LAYOUTS, Layout
from conformance.checks.libraries import INSTALLED, Library, Side
from conformance.checks.patterns import pattern
from conformance.protocols import exchange_api
from conformance.protocols.dtypes import dtype

from . import adapter_check, adapter_keywords, answers, crash_trace, fingerprint
from .adapter_bench import EITHER, SHORT

DRIVER = "driver"
SIMULATE = "CONFORMANCE_SIMULATE"
"""Environment variable that adds the simulated device, which no real library has. Only tests of the suite set it."""
_KEYWORD_SECONDS = 20
CONTENTS = "contents"
"""Key of the answer with a digest for each file of the library."""
CHECKING = "checking"
"""Key of an answer with the current step of the adapter check. If the probe crashes, its newest such answer names the step."""


def _unheard(_: str) -> None:
    """Ignore the step. Only a probe in a separate process reports it."""


def probe(name: str, tell: adapter_check.Tell = _unheard) -> Library:
    """Probe one library, installed or not. ``tell`` receives the steps of the adapter check."""
    tell("its adapter is imported")
    try:
        adapter = registry.create(name)
    except BaseException as error:
        return Library.not_trusted(name, {}, f"importing it raises {brief(error)}")
    versions: dict[str, str] = {}
    try:
        _expect_its_name(adapter, name)
        versions = _versions(adapter, tell)
        tell("its library is loaded")
        adapter.load()
    except _Wrong as found:
        return Library.not_trusted(name, versions, str(found))
    except Exception as error:
        return _not_loaded(name, adapter, versions, error)
    except BaseException as error:
        return Library.not_trusted(name, versions, f"load() raises {brief(error)}{EITHER}")
    tell("its capabilities are probed")
    try:
        return _measured(name, adapter, versions, tell)
    except _Wrong as found:
        return Library.not_trusted(name, versions, str(found))
    except BaseException as error:
        return Library.not_trusted(name, versions, f"probing its capabilities raises {brief(error)}{EITHER}")


def _expect_its_name(adapter: Adapter, name: str) -> None:
    """Check the name of the adapter. A copied adapter may keep the name of the original, and failures would then accuse that library."""
    said = getattr(adapter, "name", None)
    if said != name:
        raise _Wrong(
            f"its entry point is {name!r}, but its class {type(adapter).__qualname__} in {type(adapter).__module__} has the name {said!r}; "
            "failures would accuse another library, so give the class and the entry point the same name"
        )


def _versions(adapter: Adapter, tell: adapter_check.Tell) -> dict[str, str]:
    tell("its versions are read")
    try:
        found = adapter.versions()
    except BaseException as error:
        raise _Wrong(f"versions() raises {brief(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(word, str) for pair in found.items() for word in pair):
        raise _Wrong(f"versions() returns {found!r}; expected a dict of version strings by distribution name")
    return found


class _Wrong(Exception):
    """The adapter is not to be trusted. The text is the reason."""


def _measured(name: str, adapter: Adapter, versions: dict[str, str], tell: adapter_check.Tell) -> Library:
    """Return the capabilities of a loaded library."""
    traits = _traits(adapter)
    sides: dict[Device, Side] = {}
    unusable: dict[str, str] = {}
    for device in Device:
        if device not in adapter.exports and device not in adapter.imports:
            continue
        if device is Device.SIMULATED and not os.environ.get(SIMULATE):
            continue
        reason = _unusable(adapter, device)
        if reason is None:
            sides[device] = _trusted(adapter, device, tell)
        else:
            unusable[device.value] = reason
    absent = None if sides else f"{INSTALLED} cannot be used here: {'; '.join(dict.fromkeys(unusable.values()))}"
    return Library(name, versions, traits | _measured_traits(adapter, sides), absent, sides, unusable)


def _traits(adapter: Adapter) -> frozenset[Trait]:
    found = adapter.present_traits()
    other = next((trait for trait in found if not isinstance(trait, Trait)), None)
    if other is not None:
        raise _Wrong(f"its traits contain {other!r}; expected members of {Trait.__module__}.{Trait.__qualname__}")
    return frozenset(found)


def _trusted(adapter: Adapter, device: Device, tell: adapter_check.Tell) -> Side:
    """Return the capabilities of the library on a device. Raises :class:`_Wrong` if the adapter makes a false statement."""
    wrong = adapter_check.first_look(adapter, device, tell)
    if wrong is None:
        side = _side(adapter, device)
        wrong = adapter_check.mistake(adapter, device, side, tell)
        if wrong is None:
            return side
    raise _Wrong(wrong)


def _measured_traits(adapter: Adapter, sides: dict[Device, Side]) -> frozenset[Trait]:
    """The C exchange API, if the type of an exported array offers it."""
    for device, side in sides.items():
        if Protocol.DLPACK in side.exports:
            name = adapter_check.easiest_first(side.dtypes)[0]
            kind = type(adapter.tabled(_make(adapter, SHORT, name, device)))
            return frozenset({Trait.EXCHANGE_API} if hasattr(kind, exchange_api.ATTRIBUTE) else ())
    return frozenset()


def _not_loaded(name: str, adapter: Adapter, versions: dict[str, str], error: Exception) -> Library:
    """Return a library that is not installed, or that is installed and cannot be loaded.

    A library that cannot be loaded is unusable on every device that its adapter supports.
    """
    lacking = [needed for needed in adapter.needs if needed not in versions]
    if (lacking or not versions) and _is_missing(adapter, error):
        missing = " and ".join(lacking) if versions else " or ".join(adapter.distributions)
        return Library(name, versions, absent=f"not installed ({missing})")
    why = f"{INSTALLED} cannot be loaded: {brief(error)}"
    devices = [device for device in Device if device in adapter.exports or device in adapter.imports]
    usual = [device for device in devices if device is not Device.SIMULATED]
    return Library(name, versions, absent=why, unusable={device.value: why for device in usual})


def _is_missing(adapter: Adapter, error: Exception) -> bool:
    """Return whether the adapter's own import found no module. An installed library may fail to import another one."""
    if not isinstance(error, ModuleNotFoundError):
        return False
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if not _is_importing(frame)]
    package = type(adapter).__module__.partition(".")[0]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] == package


def _is_importing(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_globals.get("__name__") == "importlib"


def _unusable(adapter: Adapter, device: Device) -> str | None:
    if device is Device.CUDA:
        reason = driver_trouble()
        if reason:
            return reason
    return adapter.usable(device)


def driver_trouble() -> str | None:
    """Return why no CUDA device is usable here; ``None`` if one is."""
    from conformance.cuda import driver

    try:
        return None if driver.device_count() else "the CUDA driver reports no device"
    except (driver.DriverUnavailable, driver.CudaError) as error:
        return f"no CUDA driver: {error}"


def _side(adapter: Adapter, device: Device) -> Side:
    exports, imports = adapter.protocols(device)
    missing_dtypes: dict[str, str] = {}
    for name in adapter.candidate_dtypes:
        _try(partial(_make, adapter, SHORT, name, device), name, missing_dtypes)
    missing_layouts: dict[str, str] = {}
    for name, form in LAYOUTS.items():
        _try(partial(_make, adapter, form, "float32", device), name, missing_layouts)
    return Side(
        dtypes=tuple(n for n in adapter.candidate_dtypes if n not in missing_dtypes),
        layouts=tuple(n for n in LAYOUTS if n not in missing_layouts),
        exports=exports,
        imports=imports,
        missing_dtypes=missing_dtypes,
        missing_layouts=missing_layouts,
    ).with_special(adapter, device)


def _try(action: Any, name: str, missing: dict[str, str]) -> None:
    try:
        action()
    except Exception as error:
        missing[name] = str(error) if isinstance(error, Unsupported) else brief(error)


def _make(adapter: Adapter, form: Layout, kind: str, device: Device) -> Any:
    base = adapter.array(dtype(kind), form.base, pattern(dtype(kind), form.elements), device)
    return reduce(adapter.view, form.steps, base)


def driver_facts() -> dict[str, Any]:
    """Return the versions and GPUs that the CUDA driver reports, or why there is none."""
    from conformance.cuda import driver

    trouble = driver_trouble()
    if trouble:
        return {"available": False, "reason": trouble}
    return {
        "available": True,
        "driver_cuda_version": ".".join(map(str, driver.version())),
        "driver_version": _kernel_driver(),
        "libcuda": driver.loaded_path(),
        "gpus": [
            {"ordinal": i, "name": driver.device_name(i), "compute_capability": list(driver.compute_capability(i))}
            for i in range(driver.device_count())
        ],
    }


def _kernel_driver() -> str | None:
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            words = file.readline().split()
    except OSError:
        return None
    return next((w for w in words if w[0].isdigit() and "." in w), None)


def machine_facts() -> dict[str, Any]:
    """Return the version of Python, the operating system and the processor."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable_bits": 64 if sys.maxsize > 2**32 else 32,
        "platform": platform.platform(),
        "machine": platform.machine(),
    }


def main(name: str, answer: str) -> None:
    """Write the facts about one library, or about the driver, to the file ``answer``."""
    crash_trace.enable()
    say = partial(answers.say, Path(answer))
    if name == DRIVER:
        say(driver_facts())
    else:
        _tell_of(name, say)
    os._exit(0)


def _tell_of(name: str, say: Callable[[dict[str, Any]], None]) -> None:
    """Write an answer after each step, because the next step may crash this process."""
    found = probe(name, lambda doing: say({CHECKING: doing}))
    say(found.to_json())
    if found.absent is None:
        contents = fingerprint.loaded()
        found = replace(found, files=fingerprint.digest(contents))
        with contextlib.suppress(
            ValueError
        ):  # the list is too long for one answer: then no message can name the file that differs
            say({CONTENTS: contents})
        say(found.to_json())
    if not found.has(Trait.COPY_KEYWORD):
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_KEYWORD_SECONDS)
    adapter = registry.create(name)
    adapter.load()
    wrong = adapter_keywords.mistake(found, adapter)
    if wrong is not None:
        say(Library.not_trusted(name, found.versions, wrong).to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
