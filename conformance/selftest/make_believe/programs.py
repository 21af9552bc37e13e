"""Simulated libraries for the programs that a case starts: imported in place of the real ones, with a fault."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any
from unittest import mock

from conformance.cuda import context
from conformance.selftest.model import Partners, Spoil

from . import driver
from .cvcuda import Cvcuda
from .pycuda import Pycuda

_STARTED = Path(__file__).with_name("started")
_PATH = "PYTHONPATH"
_SPOIL = "CONFORMANCE_SELFTEST_SPOIL"
"""The environment variable with ``module:function`` of the fault in a program's libraries."""

Modules = dict[str, Any]
"""The libraries of a program by name."""


@contextmanager
def ahead_of_the_real_ones() -> Iterator[None]:
    """Let programs that are started within the block import the simulated libraries."""
    path = os.pathsep.join(filter(None, (str(_STARTED), os.environ.get(_PATH))))
    with mock.patch.dict(os.environ, {_PATH: path}):
        yield


def in_programs(spoil: Callable[[Modules], None]) -> Spoil:
    """Return a fault for the programs that the cases start. They get its name and look it up."""

    @wraps(spoil)
    def tell(found: Partners) -> None:
        os.environ[_SPOIL] = f"{spoil.__module__}:{spoil.__name__}"

    return tell


@cache
def modules() -> Modules:
    """Return a program's libraries with their fault, made at the first import. A simulated driver comes with them."""
    driver.believe()
    context.set_current(context.primary())
    made: Modules = {"pycuda": Pycuda(), "cvcuda": Cvcuda()}
    module, _, name = os.environ.get(_SPOIL, "").partition(":")
    if name:
        getattr(importlib.import_module(module), name).__wrapped__(made)
    return made
