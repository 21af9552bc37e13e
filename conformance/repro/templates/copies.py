"""Scripts for ``copy=True``, which must return new memory."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import layout
from conformance.protocols.strided import packed

from ..text import fill
from . import Readable, template
from .arrays import ADDRESS, made
from .arrays import taken as import_of
from .capsules import exporter
from .common import END, joined, start

_ALIGNED = """
room = numpy.zeros(48 + 256, "uint8")
start = -room.ctypes.data % 256  # aligned, so that nobody has a reason to copy
x = room[start : start + 48].view("float32").reshape(3, 4)
"""
_HONEST = '''
class Honest(Exporter):
    """Copies where it is asked to, and says so."""

    def __dlpack__(self, *, copy=None, **keywords):
        if not copy:
            return super().__dlpack__(**keywords)
        self.room, copied = (ctypes.c_float * 12)(), DLTensor.from_buffer_copy(tensor)
        ctypes.memmove(self.room, address, 48)
        copied.data = ctypes.addressof(self.room)
        return Exporter(copied, flags=2).__dlpack__(**keywords)
'''
_COPIED = """
«make»
try:
    y = «call»
except TypeError as error:
    print("refused: a version without the keyword,", error)
    sys.exit(3)
except Exception as error:
    y, seen, right = None, repr(error), False
if y is not None:
    mine, theirs = «address», «copied»
    seen, right = f"element 0 at {theirs:#x}, the producer's at {mine:#x}", mine != theirs
"""
_REFUSED = """
«make»
try:
    y = «call»
    seen, right = "a capsule", True
except TypeError as error:
    print("refused: a version without the keyword,", error)
    sys.exit(3)
except Exception as error:
    seen, right = repr(error), False
"""


@template("pointer.copy-true")
def copy_true(case: Case) -> Readable | None:
    """Return the script for a plain array, for which no library has a reason to refuse the copy or to share."""
    if case.option("layout") != "c-order" or case.consumer not in ("numpy", "torch", "jax", "reference"):
        return None
    own = case.producer == "reference"
    if own and (case.device.value != "host" or case.consumer == "reference"):
        return None
    expression = "Honest(tensor)" if own else made(case.producer, layout("c-order"), "float32", case.device.value)
    if expression is None:
        return None
    make = _ALIGNED if case.producer == "numpy" else f"x = {expression}"
    if case.consumer == "reference":
        taken = fill(_REFUSED, make=make, call="x.__dlpack__(copy=True, max_version=(1, 0))")
    else:
        address = "address" if own else ADDRESS[case.producer].format("x")
        copied = ADDRESS[case.consumer].format("y")
        taken = fill(
            _COPIED, make=make, call=import_of(case.consumer, "dlpack", "x, copy=True"), address=address, copied=copied
        )
    code = joined(
        start(case, standard=("ctypes",) if own else ()),
        joined(exporter("host", packed((3, 4))), _HONEST) if own else "",
        taken,
        fill(END, expected='"a copy in memory of its own"', seen="seen", right="right"),
    )
    asks = "Asks for a capsule" if case.consumer == "reference" else f"Has {case.consumer} import an array"
    return Readable(f"{asks} with `copy=True`, and looks whether it is one.", code)
