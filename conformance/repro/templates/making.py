"""Arrays made by users' calls and handed over directly."""

from __future__ import annotations

from conformance.adapters import registry
from conformance.adapters.making import Making
from conformance.adapters.special import named
from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .arrays import BY_CAI, VALUES, taken
from .common import END, joined, start

_TAKEN = """
x = «made»
try:
    y = «taken»
    seen = «values»
except Exception as error:
    «refused»
    seen = repr(error)
"""
_MAY_BE = """print("refused, as it may be:", repr(error))
sys.exit(0)"""
"""Statements for a refusal. It is allowed, because no consumer must accept every layout."""


@template("pointer.as-made")
def as_made(case: Case) -> Readable | None:
    """Return the producer's expression, and the consumer's import of it."""
    take, read = taken(case.consumer, case.protocol, "x"), VALUES.get(case.consumer)
    if not registry.is_ours(case.producer) or case.producer == "reference" or take is None or read is None:
        return None
    making = named(registry.create(case.producer).made, case.option("made"))
    code = joined(
        start(case),
        BY_CAI if case.protocol == "cai" else "",
        fill(
            _TAKEN,
            refused=_MAY_BE if making.name == "slice" else "",
            made=_shown(case, making),
            taken=take,
            values=read.format("y"),
        ),
        fill(END, expected=repr(list(making.numbers)), seen="seen", right=f"seen == {list(making.numbers)!r}"),
    )
    what = "an array" if making.numbers else "an array without elements"
    return Readable(f"Makes {what} of shape {making.shape}, hands it over, and has {case.consumer} read it.", code)


def _shown(case: Case, making: Making) -> str:
    expression = making.written(case.device)
    return f"Shown({expression})" if case.protocol == "cai" else expression
