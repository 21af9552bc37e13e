"""Scripts for ``copy=True`` with a stream: the stream on which the copy runs."""

from __future__ import annotations

from conformance.checks.catalogue import Case

from ..text import fill
from . import Readable, template
from .capsules import READER, STRUCTS
from .common import END, joined, start
from .streams import HOLD

_COPIED = '''
OWN, NAMED, LOOK = torch.cuda.Stream(), torch.cuda.Stream(), torch.cuda.Stream()
HOLD, kept = 0.5, []  # seconds; nothing is freed meanwhile


def copied(value, held, seconds):
    """Whether the copy is there, while one of the two streams is held, once the other one is done."""
    x, word = torch.full((256,), value, dtype=torch.int32, device="cuda"), ctypes.c_int32()
    torch.cuda.synchronize()
    hold(held.cuda_stream, seconds)
    with torch.cuda.stream(OWN):
        capsule = x.__dlpack__(stream=NAMED.cuda_stream, max_version=(1, 0), copy=True)
    tensor = opened(capsule).tensor
    if held is not OWN:
        OWN.synchronize()
    address = ctypes.c_uint64(tensor.data + tensor.byte_offset)
    nvidia.cuMemcpyDtoHAsync_v2(ctypes.byref(word), address, ctypes.c_size_t(4), ctypes.c_void_p(LOOK.cuda_stream))
    LOOK.synchronize()
    torch.cuda.synchronize()
    kept.append((x, capsule))
    return word.value == value


copied(1, OWN, 0), copied(2, NAMED, 0)  # the first calls allocate, which waits for the device
elsewhere = copied(3, NAMED, HOLD)
on_return = copied(4, OWN, HOLD)
told = ("does not wait" if elsewhere else "waits", "is" if on_return else "is not")
'''


@template("flight.copy-on-stream")
def copy_on_stream(case: Case) -> Readable | None:
    """Return the script for PyTorch with a current stream other than the named one."""
    if case.producer != "torch" or case.device.value != "cuda":
        return None
    code = joined(
        start(case, standard=("ctypes",), driver=True, streams=True),
        HOLD,
        STRUCTS,
        READER,
        _COPIED,
        fill(
            END,
            expected='"a copy on the stream that was named, or one that is done when the call returns"',
            seen='"a copy that {} for that stream and {} done when the call returns".format(*told)',
            right="not elsewhere or on_return",
        ),
    )
    return Readable(
        "Exports with `copy=True` for a stream that is named while another is current; holds first the one, then the other, and looks "
        "whether the copy is there.",
        code,
    )
