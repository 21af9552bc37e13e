"""The stage ``installation``: the real adapters, and distributions that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from conformance.adapters import registry
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.selftest.make_believe import distributions, libraries
from conformance.selftest.make_believe.distributions import MadeUp
from conformance.selftest.make_believe.environments import planned, shared
from conformance.selftest.model import Partners, Stage

_NAMES = ("torch", "cupy", "pycuda")
_LARGE = 600 << 20


def _partners() -> Partners:
    """None is loaded: what was installed is all that is looked at."""
    return {name: registry.create(name) for name in _NAMES}


def _cases(environment: Environment) -> Iterator[Case]:
    found = tuple(replace(libraries.library(name), versions={name: "1.0"}) for name in _NAMES)
    return shared(planned(Environment(found), "claim.installation"))


def _distribution(name: str) -> str:
    """What the adapter looks for first."""
    return registry.create(name).distributions[0]


def _installed() -> AbstractContextManager[None]:
    return distributions.installed(
        MadeUp(_distribution("torch"), nbytes=_LARGE), MadeUp(_distribution("cupy")), MadeUp(_distribution("pycuda"))
    )


STAGE = Stage("installation", "how made-up distributions were installed", _partners, _cases, around=_installed)


@STAGE.fault("claim.installation")
def cupy_came_ready_made(found: Partners) -> None:
    """CuPy was installed from a wheel for many Linux systems."""
    distributions.install(MadeUp(_distribution("cupy"), tag="cp312-cp312-manylinux2014_x86_64"))


@STAGE.fault("claim.installation")
def pycuda_came_ready_made(found: Partners) -> None:
    """PyCUDA was installed from a wheel for any system."""
    distributions.install(MadeUp(_distribution("pycuda"), tag="py3-none-any"))


@STAGE.fault("claim.installation")
def torch_is_small(found: Partners) -> None:
    """All files of PyTorch have 100 MiB together."""
    distributions.install(MadeUp(_distribution("torch"), nbytes=100 << 20))
