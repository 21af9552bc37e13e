"""Sentences of findings, and the display names of libraries."""

from __future__ import annotations

from conformance.checks.children import EXITING
from conformance.checks.codes import Code
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Role

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
"""Display names by adapter name. Other libraries are shown by the name of their adapter."""
PROTOCOLS = {"dlpack": "DLPack", "cai": "the CUDA Array Interface"}
PLAIN = "a plain array"
_RELEASE = {Role.PRODUCER: "an export", Role.CONSUMER: "an import"}
_RELEASED = ("an export", "an import", "a capsule", "an array")
"""Beginnings of phrases that name the released object instead of its special input."""
_LOST = {Code.CRASH: "crashes", Code.HANG: "hangs"}
_AT_EXIT = {
    Code.PROGRAM_CRASH: "makes the exit of the interpreter fail",
    Code.PROGRAM_HANG: "keeps the interpreter from exiting",
}


def title(library: str) -> str:
    """Return the display name of a library."""
    return TITLES.get(library, library)


def sentence(library: str, role: Role, code: Code | None, given: str, protocol: str, step: str) -> str:
    """Return one sentence: the library, its mistake, the input and the protocol. ``code`` is ``None`` for a code of a newer suite."""
    if code is None:
        return f"{title(library)} fails with a code that this version of the suite does not know."
    says = code.says(role)
    if code in _LOST and step == Doing.RELEASE.value:
        says = f"{_LOST[code]} when {_released(role, given)} is released"
    if code in _LOST and step == Doing.SETTLE.value:
        says = f"{_LOST[code]} after an exchange of {{given}}, when garbage is collected and caches are cleared"
    if code in _LOST and step == Doing.LATER.value:
        says = f"{_LOST[code]} some time after an exchange of {{given}}, in other work"
    if code in _AT_EXIT and given == EXITING:
        says = _AT_EXIT[code]
    if not given:
        says = says.removesuffix(": {given}")  # without input the text before the colon is the whole sentence
    by = f", by {PROTOCOLS[protocol]}" if protocol in PROTOCOLS else ""
    return f"{title(library)} {says.format(given=given or PLAIN)}{by}."


def _released(role: Role, given: str) -> str:
    if given.startswith(_RELEASED):
        return "{given}"
    return f"{_RELEASE[role]} with {{given}}" if given else _RELEASE[role]
