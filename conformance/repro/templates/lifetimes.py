"""A published stream whose owner is destroyed."""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .arrays import BY_CAI
from .common import BEGIN, END, joined, start
from .streams import NEW_STREAM

_DROPPED = f"""
x, write_on = cupy.full(256, 1, cupy.int32), cupy.cuda.Stream(non_blocking=True)
with write_on:
    x.fill(2)
    shown = Shown(x)
published = shown.__cuda_array_interface__["stream"]
del write_on
gc.collect()
others = [new_stream() for _ in range(64)]
reused = published in others  # a handle that a new stream is given is that of a dead one
for stream in others:
    nvidia.cuStreamDestroy_v2(ctypes.c_void_p(stream))
{BEGIN}  # from here on
code = None if reused else nvidia.cuStreamSynchronize(ctypes.c_void_p(published))  # as an importer has to
"""


@template("stream.outlives")
def outlives(case: Case) -> Readable | None:
    """Return the script for CuPy, which publishes its current stream without keeping it alive."""
    if case.producer != "cupy":
        return None
    code = joined(
        start(case, standard=("gc",), driver=True, dies=True),
        NEW_STREAM,
        BY_CAI,
        _DROPPED,
        fill(
            END,
            expected='"a live stream, as long as the array lives"',
            seen='f"stream {published:#x}:", "its handle is a new stream\'s" if reused else f"alive, the driver answers {code}"',
            right="code == 0 and not reused",
        ),
    )
    return Readable(
        "Writes an array on a stream of CuPy's, reads the dictionary, lets go of the stream and keeps the array. The "
        "driver then makes new streams: it gives none of them the handle of a stream that lives.",
        code,
    )
