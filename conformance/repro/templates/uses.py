"""Imports used together with the consumer's own arrays: a sum, a stack, the device, a copy, and a capsule with an offset."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import Layout, layout
from conformance.protocols.strided import Index, apply, packed

from ..text import fill
from . import Readable, template
from .arrays import BY_CAI, VALUES, made, taken, with_numpy
from .capsules import exporter
from .common import END, joined, start

_FORM = Layout("c-order", (3, 4))
_TAKEN = """
x = «given»
y = «taken»
own = «own»
"""
_OPERATION = """
«taken»
try:
    seen = [«values» for result in («results»,)]
except Exception as error:
    seen = repr(error)
# The same with two arrays of its own: where that goes wrong, the environment is at fault.
alone = [«alone»]
"""
_SHARED = {
    "add": ("own + y, y + own", "own + own", "[2 * n for n in range(12)]", 2),
    "stack": (
        "«library».stack([own, y]), «library».stack([y, own])",
        "«library».stack([own, own])",
        "2 * list(range(12))",
        2,
    ),
    "copy": ("«copy»", "«copy_own»", "list(range(12))", 1),
}
"""Texts: the operation on the import, the same on the library's own arrays, the elements, and the number of results."""
_MODULES = {"numpy": "numpy", "torch": "torch", "cupy": "cupy", "jax": "jax.numpy"}
_COPIES = {"numpy": "{}.copy()", "torch": "{}.clone()", "cupy": "{}.copy()", "jax": "jax.numpy.array({}, copy=True)"}


def _pieces(case: Case, dtype: str) -> list[str] | None:
    """Return statements that make ``x``, ``y`` and ``own``; ``None`` if the library is not covered."""
    place = case.device.value
    if case.producer == "reference":
        given, before = "Exporter(tensor)", _exported(case, dtype)
    else:
        expression = made(case.producer, _FORM, dtype, place)
        given, before = (f"Shown({expression})", BY_CAI) if case.protocol == "cai" else (expression or "", "")
        if expression is None:
            return None
    take, own = taken(case.consumer, case.protocol, "x"), made(case.consumer, _FORM, dtype, place)
    if (
        take is None
        or own is None
        or case.consumer not in _MODULES
        or (case.producer, case.protocol) == ("reference", "cai")
    ):
        return None
    return [before, fill(_TAKEN, given=given, taken=take, own=own)]


def _exported(case: Case, dtype: str, form: Layout = _FORM) -> str:
    """Return the class that exports an array of the script."""
    kind = {"int32": ("(ctypes.c_int32 * «count»)(*range(«count»))", 0), "float32": ("", 2)}[dtype]
    content = kind[0].replace("«count»", str(form.elements))
    return exporter(case.device.value, form.view, count=form.elements, content=content, code=kind[1])


def _standard(case: Case) -> tuple[str, ...]:
    return ("ctypes",) if case.producer == "reference" else ()


def _operation(case: Case, name: str, pieces: list[str], how: str) -> Readable:
    library = case.consumer
    results, alone, wanted, count = _SHARED[name]
    words = {
        "«library»": _MODULES[library],
        "«copy»": _COPIES[library].format("y"),
        "«copy_own»": _COPIES[library].format("own"),
    }
    for slot, text in words.items():
        results, alone = results.replace(slot, text), alone.replace(slot, text)
    read = VALUES[library].format("result")
    lines = fill(
        _OPERATION, taken="", results=results, values=f"[int(n) for n in {read}]",
        alone=f"[int(n) for n in {read}] for result in [{alone}]",
    )  # fmt: skip
    end = fill(END, expected=f"{count} * [{wanted}]", seen="seen", right=f"seen == {count} * [{wanted}]")
    control = f'if alone != [{wanted}]:\n    print("arrays of its own:", alone)\n    sys.exit(3)'
    cuda = case.device.value == "cuda" and case.producer == "reference"
    begin = start(case, also=with_numpy(case), standard=_standard(case), driver=cuda)
    return Readable(how, joined(begin, *pieces, lines, control, end))


@template("use.own-arrays")
def own_arrays(case: Case) -> Readable | None:
    """Return the script for a sum or a stack, in either order."""
    pieces = _pieces(case, "int32")
    name = case.option("operation")
    if pieces is None:
        return None
    return _operation(case, name, pieces, f"Has {case.consumer} {name} an import and an array of its own.")


@template("use.copy")
def copy(case: Case) -> Readable | None:
    """Return the script for a packed array only."""
    if layout(case.option("layout")).steps:
        return None
    pieces = _pieces(case, "float32")
    return None if pieces is None else _operation(case, "copy", pieces, f"Has {case.consumer} copy an import.")


@template("use.offset")
def offset(case: Case) -> Readable | None:
    """Return the script for an array that begins after the data pointer of its capsule."""
    name, place = case.option("work"), case.device.value
    ahead = {"element": 1, "page": 64}[case.option("offset")]
    take, own = taken(case.consumer, case.protocol, "x"), made(case.consumer, _FORM, "int32", place)
    if name not in _SHARED or take is None or own is None or case.consumer not in _MODULES:
        return None
    view = apply(packed((80,)), Index((slice(ahead, ahead + 12),)))
    content = f"(ctypes.c_int32 * 80)(*({ahead} * [9]), *range(12), *({68 - ahead} * [9]))"
    described = exporter(place, view, content=content, code=0, shape=(3, 4), strides=(4, 1))
    moved = f"tensor.data, tensor.byte_offset = tensor.data - {4 * ahead}, {4 * ahead}"
    pieces = [described, moved, fill(_TAKEN, given="Exporter(tensor)", taken=take, own=own)]
    how = f"Has {case.consumer} {name} an import whose capsule has a byte_offset of {4 * ahead}."
    return _operation(case, name, pieces, how)


_DEVICE = """
seen, expected = y.device, own.device
"""


@template("use.device")
def device(case: Case) -> Readable | None:
    """Return the script for an attribute of both."""
    pieces = _pieces(case, "float32")
    if pieces is None:
        return None
    cuda = case.device.value == "cuda" and case.producer == "reference"
    begin = start(case, also=with_numpy(case), standard=_standard(case), driver=cuda)
    end = fill(END, expected="repr(expected)", seen="repr(seen)", right="seen == expected")
    return Readable(
        f"Compares the device of an import with that of an array of {case.consumer}'s own.",
        joined(begin, *pieces, _DEVICE, end),
    )
