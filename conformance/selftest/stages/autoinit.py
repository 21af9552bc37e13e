"""The stage ``autoinit``: programs that find make-believe PyCUDA and CV-CUDA before the real ones."""

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
    """Both directions, with the producer imported first: every case costs an interpreter."""
    for case in shared(planned(libraries.environment(), "claim.pycuda-autoinit")):
        if case.option("order") == f"{case.producer}-first":
            yield case


STAGE = Stage(
    "autoinit",
    "make-believe PyCUDA and CV-CUDA in programs of their own",
    dict,
    _cases,
    around=programs.ahead_of_the_real_ones,
    absent=memory.absent,
)


@STAGE.fault("claim.pycuda-autoinit", bugs="context-05 context-07")
@in_programs
def another_context_is_refused(found: Modules) -> None:
    """``cvcuda.as_tensor`` wants the context that it has made itself, and raises in PyCUDA's."""

    def as_tensor(source: Any) -> NoReturn:
        raise RuntimeError("cudaErrorDeviceUninitialized: invalid device context")

    found["cvcuda"].as_tensor = as_tensor


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def another_context_is_fatal(found: Modules) -> None:
    """``cvcuda.as_tensor`` kills the process in a context that it has not made."""

    def as_tensor(source: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    found["cvcuda"].as_tensor = as_tensor


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def another_context_has_other_elements(found: Modules) -> None:
    """``cvcuda.as_tensor`` looks for the address in its own context, where zeros are."""
    found["cvcuda"].as_tensor = lambda source: CvcudaTensor(
        memory.zeros(source.__cuda_array_interface__["shape"], "float32")
    )


@STAGE.fault("claim.pycuda-autoinit", bugs="context-07")
@in_programs
def imports_cannot_be_read(found: Modules) -> None:
    """A ``GPUArray`` on CV-CUDA's memory is made, and its ``get`` raises: the memory is not of PyCUDA's context."""

    class Foreign(GPUArray):
        def get(self) -> Any:
            if self.owner is not None:
                raise RuntimeError("cuMemcpyDtoH failed: invalid argument")
            return super().get()

    found["pycuda"].gpuarray.GPUArray = Foreign


@STAGE.fault("claim.pycuda-autoinit")
@in_programs
def no_second_context(found: Modules) -> None:
    """``import pycuda.autoinit`` raises."""

    def autoinit() -> NoReturn:
        raise RuntimeError("cuCtxCreate failed: invalid device")

    found["pycuda"].autoinit = autoinit
