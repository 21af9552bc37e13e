"""Stages of the self-test. Each module defines one :class:`~conformance.selftest.model.Stage` named ``STAGE`` and registers its faults."""

from __future__ import annotations

import importlib
import pkgutil

from conformance.selftest.model import Stage


def stages() -> tuple[Stage, ...]:
    """Return all stages, in the order of their modules' names."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{module}").STAGE for module in modules)
