"""The stage ``jax-wrappers``: the real JAX with the reference on host memory, with a wrapper that spoils one thing.

JAX cannot be imported before a fork, so every fault costs an import: these are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from conformance.selftest import real, wrappers
from conformance.selftest.model import Stage
from conformance.selftest.wrapping import Real, add
from conformance.suite.catalogue import Case
from conformance.suite.libraries import Environment

_NAME = "jax"


def _cases(_: Environment) -> Iterator[Case]:
    return real.cases(_NAME, STAGE.faults)


STAGE = Stage(
    "jax-wrappers",
    "the real JAX with the reference, on host memory",
    partial(real.partners, _NAME),
    _cases,
    absent=partial(real.absent, _NAME),
    extra=True,
)
add(
    STAGE,
    Real(_NAME, lambda array: array.copy(), lambda array: int(array.unsafe_buffer_pointer())),
    wrappers.ExportsBooleansAsNumbers,
    wrappers.ExportsBfloatAsHalf,
    wrappers.ContradictsTheCapsule,
    wrappers.TakesUnsignedForSigned,
    wrappers.TakesBfloatForHalf,
    wrappers.LeavesTheNameAsItWas,
)
