"""Content of ``__cuda_array_interface__``: addresses of empty arrays, and malformed dictionaries."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import layout

from ..text import fill
from . import Readable, template
from .arrays import made, with_numpy
from .capsules import allocated
from .common import BEGIN, END, joined, start

_EMPTY = """
«before»
x = «made»
address = x.__cuda_array_interface__["data"][0]
"""
_FREED = """
cvcuda.Tensor(«ones», cvcuda.Type.F32, rowalign=1)  # and freed: its buffer lies ready for the next tensor
"""


@template("cai.empty-address", "layout.empty-export")
def empty(case: Case) -> Readable | None:
    """Return the script for arrays without elements, made in different ways."""
    form = layout(case.option("layout"))
    if case.protocol != "cai":
        return None
    before = ""
    if case.producer == "cvcuda":
        shape = repr(form.base)
        expression: str | None = f"cvcuda.Tensor({shape}, cvcuda.Type.F32, rowalign=1).cuda()"
        before = fill(_FREED, ones=repr((1,) * len(form.base)))
        if form.steps:
            return None
    else:
        expression = made(case.producer, form, "float32", "cuda")
    if expression is None:
        return None
    code = joined(
        start(case, also=with_numpy(case)),
        fill(_EMPTY, before=before, made=expression),
        fill(END, expected='"address 0"', seen='f"address {address:#x}"', right="address == 0"),
    )
    return Readable(f"Looks at the address that an array of shape {form.view.shape} publishes.", code)


_SHORT = """
«memory»


class Published:
    \"\"\"A dictionary whose strides are fewer than its dimensions.\"\"\"

    def __init__(self):
        self.__cuda_array_interface__ = {
            "shape": (3, 4), "typestr": "<f4", "data": (address, False), "version": 3,
            "strides": tuple([16]),  # a tuple of its own for each
        }


«begin»  # from here on
arrays, right = [Published() for _ in range(64)], True  # what lies behind the tuple's end is now this and now that
for x in arrays:
    try:
        y = cvcuda.as_tensor(x)
        taken = y.cuda().__cuda_array_interface__
        rows, columns = taken.get("strides") or (16, 4)
        inside = taken["data"][0] == address and min(rows, columns) >= 0 and 2 * rows + 3 * columns + 4 <= 48
        seen, right = f"accepted: {taken}", right and taken["shape"] == (3, 4) and inside
    except Exception as error:
        seen = repr(error)
"""


@template("cai.malformed")
def malformed(case: Case) -> Readable | None:
    """Return the script for a dictionary with too few strides, which does not define an array."""
    if case.option("dictionary") != "strides-short" or case.consumer != "cvcuda":
        return None
    code = joined(
        start(case, standard=("ctypes",), driver=True, dies=True),
        fill(
            _SHORT,
            memory=allocated("cuda", "(ctypes.c_float * 12)(*range(12))"),
            begin=BEGIN,
        ),
        fill(
            END, expected='"an exception, or an array inside the memory that was published"', seen="seen", right="right"
        ),
    )
    return Readable(f"Gives {case.consumer} a dictionary for a shape of two dimensions, with one stride.", code)
