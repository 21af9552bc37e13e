"""Stage ``jax-wrappers``: the real JAX with the reference on host memory, in a wrapper with one fault.

JAX cannot be imported before a fork, so each fault costs an import. So the stage has few faults.
"""

from __future__ import annotations

from conformance.selftest import real, wrappers
from conformance.selftest.wrapping import Real, add

_NAME = "jax"


STAGE = real.stage(_NAME, "the real JAX with the reference, on host memory", before_forks=False)
add(
    STAGE,
    Real(_NAME, lambda array: array.copy(), lambda array: int(array.unsafe_buffer_pointer())),
    wrappers.ExportsBooleansAsNumbers,
    wrappers.ExportsBfloatAsHalf,
    wrappers.ContradictsTheCapsule,
    wrappers.TakesUnsignedForSigned,
    wrappers.TakesBfloatForHalf,
    wrappers.LeavesTheNameAsItWas,
    wrappers.HoldsNothingByItsExports,
    wrappers.ReleasesWhatItTakes,
)
