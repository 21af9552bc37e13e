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
_RELEASE = {
    Role.PRODUCER: "ends the process when an export is released",
    Role.CONSUMER: "ends the process when an import is released",
}


def title(library: str) -> str:
    """A library's name as people write it."""
    return TITLES.get(library, library)


def sentence(library: str, role: Role, code: Code, given: str, protocol: str, step: str) -> str:
    """One plain sentence: which library does what, to what, by which protocol."""
    says = _RELEASE[role] if code is Code.CRASH and step == Doing.RELEASE.value else code.says(role)
    by = f", by {PROTOCOLS[protocol]}" if protocol in PROTOCOLS else ""
    return f"{title(library)} {says.format(given=given or PLAIN)}{by}."
