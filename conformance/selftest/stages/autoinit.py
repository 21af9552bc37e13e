"""Stage ``autoinit``: programs that import simulated PyCUDA and CV-CUDA packages in place of the real ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.selftest.make_believe import libraries, memory, programs
from conformance.selftest.make_believe.cvcuda import CvcudaTensor
from conformance.selftest.make_believe.environments import planned, shared
from conformance.selftest.make_believe.programs import Modules, in_programs
from conformance.selftest.make_believe.pycuda import GPUArray
from conformance.selftest.model import Stage


def _cases(environment: Environment) -> Iterator[Case]:
    """Yield both directions with the producer imported first, because every case starts an interpreter."""
    for case in shared(planned(libraries.environment(), "claim.pycuda-autoinit")):
        if case.option("order") == f"{case.producer}-first":
            yield case


STAGE = Stage(
    "autoinit",
    "simulated PyCUDA and CV-CUDA in separate programs",
    dict,
    _cases,
    around=programs.ahead_of_the_real_ones,
    absent=memory.absent,
)


@STAGE.fault("claim.pycuda-autoinit", bugs="context-05 context-07")
@in_programs
def another_context_is_refused(found: Modules) -> None:
    """Raises in ``cvcuda.as_tensor`` in a context that CV-CUDA did not create, such as PyCUDA's."""

    def as_tensor(source: Any) -> NoReturn:
        raise RuntimeError("cudaErrorDeviceUninitialized: invalid device context")

    found["cvcuda"].as_tensor = as_tensor


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def another_context_is_fatal(found: Modules) -> None:
    """Ends the process in ``cvcuda.as_tensor`` in a context that CV-CUDA did not create."""

    def as_tensor(source: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    found["cvcuda"].as_tensor = as_tensor


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def another_context_has_other_elements(found: Modules) -> None:
    """Reads the address in CV-CUDA's own context in ``cvcuda.as_tensor``, and so returns zeros."""
    found["cvcuda"].as_tensor = lambda source: CvcudaTensor(
        memory.zeros(source.__cuda_array_interface__["shape"], "float32")
    )


@STAGE.fault("claim.pycuda-autoinit", bugs="context-07")
@in_programs
def imports_cannot_be_read(found: Modules) -> None:
    """Raises in ``GPUArray.get`` on CV-CUDA's memory, because that memory belongs to another context."""

    class Foreign(GPUArray):
        def get(self) -> Any:
            if self.owner is not None:
                raise RuntimeError("cuMemcpyDtoH failed: invalid argument")
            return super().get()

    found["pycuda"].gpuarray.GPUArray = Foreign


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def no_second_context(found: Modules) -> None:
    """Raises on ``import pycuda.autoinit``."""

    def autoinit() -> NoReturn:
        raise RuntimeError("cuCtxCreate failed: invalid device")

    found["pycuda"].autoinit = autoinit
