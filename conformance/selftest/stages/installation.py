"""Stage ``installation``: the real adapters with simulated distributions."""

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
    """Return the adapters without loading them: the invariant only reads how they were installed."""
    return {name: registry.create(name) for name in _NAMES}


def _cases(environment: Environment) -> Iterator[Case]:
    found = tuple(replace(libraries.library(name), versions={name: "1.0"}) for name in _NAMES)
    return shared(planned(Environment(found), "claim.installation"))


def _distribution(name: str) -> str:
    """Return the first distribution of the adapter."""
    return registry.create(name).distributions[0]


def _installed() -> AbstractContextManager[None]:
    return distributions.installed(
        MadeUp(_distribution("torch"), nbytes=_LARGE), MadeUp(_distribution("cupy")), MadeUp(_distribution("pycuda"))
    )


STAGE = Stage("installation", "the installation of simulated distributions", _partners, _cases, around=_installed)


@STAGE.fault("claim.installation")
def cupy_came_ready_made(found: Partners) -> None:
    """Installs CuPy from a manylinux wheel."""
    distributions.install(MadeUp(_distribution("cupy"), tag="cp312-cp312-manylinux2014_x86_64"))


@STAGE.fault("claim.installation")
def pycuda_came_ready_made(found: Partners) -> None:
    """Installs PyCUDA from a wheel for any system."""
    distributions.install(MadeUp(_distribution("pycuda"), tag="py3-none-any"))


@STAGE.fault("claim.installation")
def torch_is_small(found: Partners) -> None:
    """Installs PyTorch with a total size of 100 MiB."""
    distributions.install(MadeUp(_distribution("torch"), nbytes=100 << 20))
