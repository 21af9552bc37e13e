"""Arrays that change while their import is alive, and imports whose memory is reused."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import layout

from ..text import fill
from . import Readable, template
from .arrays import ADDRESS, VALUES, made, taken
from .common import END, joined, start

_CHANGES = {
    "data": "x.data = torch.zeros_like(x)",
    "set": "x.set_(torch.zeros_like(x))",
    "resize": "x.resize_(4 * COUNT)",
    "out": 'torch.add(torch.zeros(4 * COUNT, device="«place»"), 1, out=x)  # PyTorch warns that it resizes x',
    "storage-freed": "x.untyped_storage().resize_(0)",
    "storage-grown": "x.untyped_storage().resize_(16 * COUNT)",
    "share-memory": "x.share_memory_()",
    "delete": "del x",
    "empty-cache": "del x\ntorch.cuda.empty_cache()",
}
_NOW = {
    "host": '''
def now(address):
    """What lies there; the kernel reads it, so that memory which is gone ends nobody."""
    try:
        with open("/proc/self/mem", "rb", 0) as memory:
            memory.seek(address)
            return memory.read(4 * COUNT)
    except OSError:
        return b"no memory"
''',
    "cuda": '''
def now(address):
    """What lies there; the driver refuses to read memory that is gone."""
    data = ctypes.create_string_buffer(4 * COUNT)
    code = nvidia.cuMemcpyDtoH_v2(data, ctypes.c_uint64(address), ctypes.c_size_t(4 * COUNT))
    return b"no memory" if code else data.raw
''',
}
_KEPT = """
x = torch.arange(COUNT, dtype=torch.float32, device="«place»")
«finished»
y = «import»
address = «address»
before = now(address)
try:
    «change»
    told = "changed"
except Exception as error:
    told = f"refused with {error!r}"
others = [torch.full((COUNT,), -1.0, device="«place»") for _ in range(16)]  # memory that is free is used again
«finished»
inside = [other for other in others if abs(other.data_ptr() - address) < 4 * COUNT]
after = now(address)
found = "a tensor that was made later lies in it" if inside else "the same elements" if after == before else "other data"
"""


@template("source.export-kept")
def export_kept(case: Case) -> Readable | None:
    """Return the script for PyTorch, on the host and on a GPU."""
    device = case.device.value
    change = _CHANGES.get(case.option("change"))
    if case.producer != "torch" or case.protocol != "dlpack" or change is None or device not in _NOW:
        return None
    consumer = "numpy" if case.consumer == "reference" and device == "host" else case.consumer
    consumer = "torch" if consumer == "reference" else consumer
    expression = taken(consumer, "dlpack", "x")
    if expression is None:
        return None
    place, on_gpu = ("cuda", True) if device == "cuda" else ("cpu", False)
    code = joined(
        start(case, also=(consumer,), standard=("ctypes",) if on_gpu else (), driver=on_gpu),
        "COUNT = 4096  # float32",
        _NOW[device],
        fill(
            _KEPT,
            place=place,
            finished="torch.cuda.synchronize()" if on_gpu else "",
            **{"import": expression},
            address=ADDRESS[consumer].format("y"),
            change=fill(change, place=place),
        ),
        fill(
            END,
            expected='"the same elements in the memory of the import, or a refusal"',
            seen='f"{told}: {found}"',
            right="not inside and after == before",
        ),
    )
    return Readable(
        "Imports a tensor by DLPack, changes the tensor, makes others of its size, and looks at the memory of the import, which nobody has dropped.",
        code,
    )


_REUSED = """
x = «make»
before = «values»
y = jax.dlpack.from_dlpack(x, copy=True)
z = jax.jit(lambda v: v + 1, donate_argnums=0)(y).block_until_ready()  # gives the copy's memory away
after = «values»
"""
_ALIGNED = """
room = numpy.zeros(48 + 256, "uint8")
begin = -room.ctypes.data % 256  # aligned, so that JAX could share it
x = room[begin : begin + 48].view("float32").reshape(3, 4)
x[...] = numpy.arange(12).reshape(3, 4)
"""


@template("source.copy-reused")
def copy_reused(case: Case) -> Readable | None:
    """Return the script for JAX, which reuses donated memory."""
    if case.consumer != "jax" or case.option("reuse") != "donate" or case.option("copy") != "true":
        return None
    producer = "numpy" if case.producer == "reference" else case.producer
    expression = made(producer, layout("c-order"), "float32", "host")
    if expression is None or producer not in VALUES:
        return None
    body = fill(_REUSED, make=expression, values=VALUES[producer].format("x"))
    if producer == "numpy":
        body = joined(_ALIGNED, body.replace(f"x = {expression}\n", "", 1))
    code = joined(
        start(case, also=(producer,)),
        body,
        fill(END, expected='f"{before} in the producer\'s array"', seen="after", right="after == before"),
    )
    return Readable(
        "Imports an array with `copy=True`, donates the copy to a compiled function, and looks whether the producer's array has its elements still.",
        code,
    )
