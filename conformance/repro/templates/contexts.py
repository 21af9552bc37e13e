"""PyCUDA in a CUDA context of its own, and another library in the primary context."""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .common import Words, joined, start
from .handovers import JUDGED
from .streams import HOLD

_OWN = Words("import numpy\nimport pycuda.driver\nimport pycuda.gpuarray", "", "", '"pycuda": pycuda.VERSION_TEXT')
_ACROSS = '''
import pycuda.autoinit  # makes a context of its own and makes it current; below it lies the primary one


class Published:
    """An array of PyCUDA's, with the stream that it was written on: PyCUDA itself names none."""

    def __init__(self, array, stream):
        described = {**array.__cuda_array_interface__, "version": 3, "stream": stream}
        self.owner, self.__cuda_array_interface__ = array, described


OLD, NEW, HOLD = 1, 2, 0.5  # two numbers to tell apart; seconds
expected, kept = NEW, []
write_on = pycuda.driver.Stream(1)  # non-blocking
pycuda.autoinit.context.pop()
atexit.register(pycuda.autoinit.context.push)  # PyCUDA's own end expects to find it
read_on = torch.cuda.Stream()


def handed_over(seconds, synchronise=False):
    """What PyTorch reads, in the primary context, of an array that PyCUDA has still to write in its own."""
    into = torch.zeros(256, dtype=torch.int32, device="cuda")
    torch.cuda.synchronize()
    pycuda.autoinit.context.push()
    x = pycuda.gpuarray.to_gpu(numpy.full(256, OLD, "int32"))
    pycuda.driver.Context.synchronize()
    hold(write_on.handle, seconds)
    pycuda.driver.memset_d32_async(int(x.ptr), NEW, x.size, write_on)
    if synchronise:
        write_on.synchronize()
    shown = Published(x, write_on.handle)
    pycuda.driver.Context.pop()
    with torch.cuda.stream(read_on):
        y = torch.as_tensor(shown, device="cuda")
        into.copy_(y)
    torch.cuda.synchronize()  # the primary context alone
    seen = int(into[0])
    pycuda.autoinit.context.push()
    pycuda.driver.Context.synchronize()
    pycuda.driver.Context.pop()
    kept.append((x, y, into))
    return seen
'''


@template("crossing.contexts")
def contexts(case: Case) -> Readable | None:
    """Return the script. The dictionary names the stream, as a user of PyCUDA can write it."""
    if (case.producer, case.consumer, case.option("published")) != ("pycuda", "torch", "stream"):
        return None
    code = joined(
        start(case, standard=("atexit",), driver=True, streams=True, instead={"pycuda": _OWN}),
        HOLD,
        _ACROSS,
        fill(JUDGED, told='"what PyCUDA had queued before it handed the array over"'),
    )
    return Readable(
        "Has PyCUDA write in a context of its own on a stream that is held and is published, and PyTorch import the array and read it "
        "in the primary context.",
        code,
    )
