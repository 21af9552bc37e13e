"""A published stream whose object nobody holds any more."""

from __future__ import annotations

from conformance.suite.catalogue import Case

from ..text import fill
from . import Readable, template
from .arrays import BY_CAI
from .parts import BEGIN, END, joined, start
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
its_context = ctypes.c_void_p()
code = nvidia.cuStreamGetCtx(ctypes.c_void_p(published), ctypes.byref(its_context))
if code == 0:
    code = nvidia.cuStreamSynchronize(ctypes.c_void_p(published))  # as whoever imports the array has to
"""


@template("stream.outlives")
def outlives(case: Case) -> Readable | None:
    """CuPy publishes its current stream and does not keep it."""
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
            seen='f"stream {published:#x}:", "given to somebody else" if reused else f"the driver answers {code}"',
            right="code == 0 and not reused",
        ),
    )
    return Readable(
        "Writes an array on a stream of CuPy's, reads the dictionary, lets go of the stream and keeps the array; then the "
        "published stream is waited for, as an importer has to.",
        code,
    )
