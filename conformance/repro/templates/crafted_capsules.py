"""Crafted capsules for a consumer: without strides, without deleter, or with invalid versions or numbers."""

from __future__ import annotations

from typing import Any

from conformance.checks.catalogue import Case
from conformance.checks.layouts import layout
from conformance.protocols.dtypes import DLCode
from conformance.protocols.strided import packed

from ..text import fill
from . import Readable, template
from .arrays import ADDRESS, VALUES, taken
from .capsules import ASKED, LEGACY, exporter
from .common import BEGIN, END, joined, peek, start

_VIEWS = {
    "host": "StridedMemoryView.from_dlpack({}, stream_ptr=-1)",
    "cuda": "StridedMemoryView.from_dlpack({}, stream_ptr=int(gpu.default_stream.handle))",
}
_TYPES = {"cvcuda": '{}.cuda().__cuda_array_interface__["typestr"]', "cuda_python": "str({}.dtype)"}


def _call(case: Case) -> str | None:
    if case.consumer == "cuda_python":
        return _VIEWS[case.device.value].format("Exporter(tensor)")
    return taken(case.consumer, "dlpack", "Exporter(tensor)")


def _begun(case: Case, *, peeks: bool = False, dies: bool = True, gc: bool = False) -> str:
    cuda = case.device.value == "cuda"
    begun = start(case, standard=("ctypes", *(("gc",) if gc else ())), driver=cuda, dies=dies)
    return joined(begun, peek(case) if peeks else "")


# -- without strides

_WITHOUT_STRIDES = """
«begin»  # from here on
x = Exporter(tensor)
try:
    y = «call»
except Exception as error:
    y, seen = None, repr(error)
«versioned»
if y is not None:
    seen = «values»
"""
_ONLY_LEGACY = """
if not x.versioned:
    print("refused: this consumer asks for legacy capsules only")
    sys.exit(3)
"""


@template("layout.null-strides")
def null_strides(case: Case) -> Readable | None:
    """Return the script for a packed array. Consumers must accept a capsule without strides."""
    form = layout(case.option("layout"))
    call = taken(case.consumer, "dlpack", "x")
    if form.name.startswith("empty") or call is None:
        return None
    kind, count = case.option("capsule"), form.elements
    version = (1, 0) if kind == "legacy" else (1, int(kind[-1]))
    read = VALUES.get(case.consumer, f"floats_at({ADDRESS['cvcuda']}, {count})")
    code = joined(
        _begun(case, peeks=case.consumer == "cvcuda"),
        exporter(
            case.device.value,
            form.view,
            count=count,
            without_strides=True,
            version=version,
            versioned=LEGACY if kind == "legacy" else ASKED,
        ),
        fill(
            _WITHOUT_STRIDES,
            begin=BEGIN,
            call=call,
            versioned="" if kind == "legacy" else _ONLY_LEGACY,
            values=read.format("y"),
        ),
        fill(END, expected=f"list(range({count}))", seen="seen", right=f"seen == list(range({count}))"),
    )
    told = "legacy capsule" if kind == "legacy" else f"capsule of version {kind}"
    return Readable(
        f"Gives {case.consumer} a {told} of a packed array of shape {form.view.shape} whose strides are NULL.", code
    )


# -- numbers that no array has

_IMPOSSIBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "negative-extent": ("an extent of -4", {"shape": (3, -4)}),
    "negative-rank": ("-1 dimensions", {"ndim": -1}),
    "elements-overflow": ("2**64 elements", {"shape": (2**32, 2**32), "strides": (0, 0)}),
    "stride-overflow": ("a stride of 2**61 elements, which is 2**63 bytes", {"strides": (2**61, 1)}),
}
_REFUSED = """
«begin»  # from here on
try:
    y = «call»
    seen, refused = "accepted: " + str(«described»), False
except Exception as error:
    seen, refused = repr(error), True
"""


_AS_IT_IS = "tuple(y.shape) == {shape} and all((s - t) * 4 % 2**64 == 0 for s, t in zip(y.stride(), {strides}))"


@template("layout.impossible")
def impossible(case: Case) -> Readable | None:
    """Return the script. A refusal is correct; so is an import that describes the capsule's values, if an array can have them."""
    if case.consumer != "torch":
        return None
    told, override = _IMPOSSIBLE[case.option("capsule")]
    form = packed((3, 4))
    same = _AS_IT_IS.format(shape=override.get("shape", form.shape), strides=override.get("strides", form.strides))
    sensible = case.option("capsule") in ("stride-overflow", "elements-overflow")
    code = joined(
        _begun(case),
        exporter(case.device.value, form, **override),
        fill(_REFUSED, begin=BEGIN, call=_call(case), described="(tuple(y.shape), tuple(y.stride()))"),
        fill(END, expected='"an exception"', seen="seen", right=f"refused or ({same})" if sensible else "refused"),
    )
    return Readable(f"Gives {case.consumer} a capsule that claims {told}.", code)


# -- element types that there are not

_UNKNOWN = {"bfloat-32": (DLCode.BFLOAT, 32), "bool-32": (DLCode.BOOL, 32)}


@template("dtype.unknown")
def unknown_type(case: Case) -> Readable | None:
    """Return the script for a width that the type code does not have."""
    found = _UNKNOWN.get(case.option("elements"))
    if found is None or case.consumer not in _TYPES:
        return None
    code, bits = found
    text = joined(
        _begun(case),
        exporter(
            case.device.value,
            packed((3, 4)),
            content="(ctypes.c_double * 12)(*range(12))",
            code=int(code),
            bits=bits,
        ),
        fill(_REFUSED, begin=BEGIN, call=_call(case), described=_TYPES[case.consumer].format("y")),
        fill(END, expected='"an exception"', seen="seen", right="refused"),
    )
    return Readable(
        f"Gives {case.consumer} a capsule of type code {int(code)} ({code.name.lower()}) with {bits} bits, which there is not.",
        text,
    )


# -- another major version


@template("negotiation.foreign-major")
def foreign_major(case: Case) -> Readable | None:
    """Return the script. The layout after the version field is unknown; the script uses that of version 1."""
    if case.option("content") != "plain" or _call(case) is None:
        return None
    code = joined(
        _begun(case),
        exporter(case.device.value, packed((3, 4)), version=(2, 0), versioned="True"),
        fill(_REFUSED, begin=BEGIN, call=_call(case), described="type(y).__name__"),
        fill(END, expected='"an exception"', seen="seen", right="refused"),
    )
    return Readable(f"Gives {case.consumer} a capsule whose struct says that it is of major version 2.", code)


# -- without deleter

_DROPPED = """
«begin»  # from here on
try:
    y = «call»
except Exception as error:
    print("refused, as it may be:", repr(error))
    sys.exit(0)
seen = «values»
del y
gc.collect()
"""


@template("lifetime.null-deleter")
def null_deleter(case: Case) -> Readable | None:
    """Return the script. The deleter may be NULL; then the consumer must not call it."""
    if case.consumer not in VALUES:
        return None
    legacy = case.option("struct") == "legacy"
    code = joined(
        _begun(case, gc=True),
        exporter(case.device.value, packed((3, 4)), versioned=LEGACY if legacy else ASKED, deleter="None"),
        fill(_DROPPED, begin=BEGIN, call=_call(case), values=VALUES[case.consumer].format("y")),
        fill(END, expected="list(range(12))", seen="seen", right="seen == list(range(12))"),
    )
    return Readable(
        f"Gives {case.consumer} a {case.option('struct')} capsule whose deleter is NULL, reads the import and drops it.",
        code,
    )
