"""Minimal DLPack by ctypes: read a capsule, and make one."""

from __future__ import annotations

from conformance.protocols.strided import Strided

from ..text import fill
from .common import joined

STRUCTS = """
class DLTensor(ctypes.Structure):  # this and the next two as in dlpack.h
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Legacy(ctypes.Structure):
    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", DLTensor),
    ]
"""

READER = """
def opened(capsule):
    \"\"\"The struct in a capsule, which stays the capsule's.\"\"\"
    api = ctypes.pythonapi
    api.PyCapsule_IsValid.argtypes = api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    if api.PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        return Versioned.from_address(api.PyCapsule_GetPointer(capsule, b"dltensor_versioned"))
    return Legacy.from_address(api.PyCapsule_GetPointer(capsule, b"dltensor"))
"""

EXPORTER = '''
api, nothing = ctypes.pythonapi, ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p)  # a deleter without effect
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Exporter:
    """Hands out a capsule."""

    def __init__(self, tensor, flags=0):
        self.tensor, self.flags = tensor, flags

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        self.versioned = «versioned»
        if self.versioned:
            struct, name = Versioned(«major», «minor», None, «deleter», self.flags, self.tensor), b"dltensor_versioned"
        else:
            struct, name = Legacy(self.tensor, None, «deleter»), b"dltensor"
        api.Py_IncRef(ctypes.py_object(struct))  # never freed: an import may outlive whatever is here
        return api.PyCapsule_New(ctypes.addressof(struct), name, None)

    def __dlpack_device__(self):
        return «device»
'''
ASKED = "max_version is not None and max_version[0] >= 1"
"""Condition of a producer: the consumer accepts versioned capsules."""
LEGACY = "False"

MEMORY = """
«memory»
shape, strides = (ctypes.c_int64 * «rank»)(*«shape»), «strides»
tensor = DLTensor(address + «offset», *«device», «ndim», «code», «bits», 1, shape, strides, 0)
"""
_MEMORIES = {
    "host": """
content = «content»
memory = (ctypes.c_char * (ctypes.sizeof(content) + 256))()
address = (ctypes.addressof(memory) + 255) & ~255  # aligned, so that nobody has a reason to copy
ctypes.memmove(address, content, ctypes.sizeof(content))
""",
    "cuda": """
content, memory = «content», ctypes.c_uint64()
assert nvidia.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(ctypes.sizeof(content))) == 0
assert nvidia.cuMemcpyHtoD_v2(memory, content, ctypes.c_size_t(ctypes.sizeof(content))) == 0
address = memory.value
""",
}
DEVICES = {"host": (1, 0), "cuda": (2, 0)}
FLOATS = "(ctypes.c_float * «count»)(*range(«count»))"


def allocated(place: str, content: str) -> str:
    """Return statements for a block of memory with this content, a ctypes expression; ``address`` is its address."""
    return fill(_MEMORIES[place], content=content)


def exporter(
    place: str,
    view: Strided,
    *,
    count: int = 12,
    content: str = "",
    itemsize: int = 4,
    code: int = 2,
    bits: int = 32,
    shape: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
    without_strides: bool = False,
    ndim: int | None = None,
    version: tuple[int, int] = (1, 0),
    versioned: str = ASKED,
    deleter: str = "nothing",
) -> str:
    """Return the structs, the memory, and a class that exports it, correct except for the requested defect."""
    sizes = tuple(view.shape if shape is None else shape)
    steps = tuple(view.strides if strides is None else strides)
    described = fill(
        MEMORY,
        memory=allocated(place, content or fill(FLOATS, count=count)),
        rank=len(sizes),
        shape=repr(sizes),
        strides="None" if without_strides else f"(ctypes.c_int64 * {len(steps)})(*{steps!r})",
        offset=view.offset * itemsize,
        device=repr(DEVICES[place]),
        ndim=len(sizes) if ndim is None else ndim,
        code=code,
        bits=bits,
    )
    offering = fill(
        EXPORTER, versioned=versioned, major=version[0], minor=version[1], deleter=deleter, device=repr(DEVICES[place])
    )
    return joined(STRUCTS, described, offering)
