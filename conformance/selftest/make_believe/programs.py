"""Make-believe libraries for the programs that a case starts: found before the real ones, and spoiled there."""

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
"""Environment variable: ``module:function`` of what spoils the libraries of a program."""

Modules = dict[str, Any]
"""The libraries of a program by their names."""


@contextmanager
def ahead_of_the_real_ones() -> Iterator[None]:
    """Programs that are started meanwhile find the make-believe libraries."""
    path = os.pathsep.join(filter(None, (str(_STARTED), os.environ.get(_PATH))))
    with mock.patch.dict(os.environ, {_PATH: path}):
        yield


def in_programs(spoil: Callable[[Modules], None]) -> Spoil:
    """A fault of the programs that the cases start: they are told its name, and look it up."""

    @wraps(spoil)
    def tell(found: Partners) -> None:
        os.environ[_SPOIL] = f"{spoil.__module__}:{spoil.__name__}"

    return tell


@cache
def modules() -> Modules:
    """In a program: its libraries, made and spoiled at the first import of one. A make-believe driver comes with them."""
    driver.believe()
    context.set_current(context.primary())
    made: Modules = {"pycuda": Pycuda(), "cvcuda": Cvcuda()}
    module, _, name = os.environ.get(_SPOIL, "").partition(":")
    if name:
        getattr(importlib.import_module(module), name).__wrapped__(made)
    return made
