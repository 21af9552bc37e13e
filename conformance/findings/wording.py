"""The sentences of findings, and the names that libraries go by."""

from __future__ import annotations

from conformance.protocols.clauses import Role
from conformance.suite.codes import Code
from conformance.suite.steps import Doing

from .model import UNKNOWN

TITLES = {
    "torch": "PyTorch",
    "cupy": "CuPy",
    "cvcuda": "CV-CUDA",
    "pycuda": "PyCUDA",
    "cuda_python": "CUDA Python",
    "numpy": "NumPy",
    "jax": "JAX",
    "reference": "the reference",
    UNKNOWN: "One of the libraries",
}
"""By the name of the adapter; a library that is not built in goes by its own."""
PROTOCOLS = {"dlpack": "DLPack", "cai": "the CUDA Array Interface"}
PLAIN = "a plain array"
_RELEASE = {Role.PRODUCER: "an export", Role.CONSUMER: "an import"}


def title(library: str) -> str:
    """A library's name as people write it."""
    return TITLES.get(library, library)


def sentence(library: str, role: Role, code: Code | None, given: str, protocol: str, step: str) -> str:
    """One plain sentence: which library does what, to what, by which protocol. ``None`` is a code of a newer suite."""
    if code is None:
        return f"{title(library)} fails in a way that this version of the suite has no words for."
    says = code.says(role)
    if code is Code.CRASH and step == Doing.RELEASE.value:
        says = f"ends the process when {_RELEASE[role]}{' with {given}' if given else ''} is released"
    by = f", by {PROTOCOLS[protocol]}" if protocol in PROTOCOLS else ""
    return f"{title(library)} {says.format(given=given or PLAIN)}{by}."
