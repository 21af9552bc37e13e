"""The reference importer: what it takes, what it refuses, and when it gives back."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from conformance.protocols import cai, capsule
from conformance.protocols.dlpack import USED_LEGACY, USED_VERSIONED
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Index, Strided, packed
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Deleter, settle
from conformance.reference.memory import HostMemory, simulated
from conformance.reference.streams import NoSuchStream


def array(*, cuda: bool = False, view: Strided | None = None, **override: Any) -> Exporter:
    """Twelve elements of float32 with fields of its struct overridden."""
    memory = simulated() if cuda else HostMemory()
    made = Exporter(memory, memory.allocate(48), dtype("float32"), view or packed((3, 4)), override=override)
    memory.write(made.block.address, bytes(range(48)))
    return made


def take(source: Any, *, cuda: bool = False) -> Imported:
    """By DLPack."""
    return Importer(simulated() if cuda else HostMemory()).take_dlpack(source)


class Object:
    """Any function in place of ``__dlpack__``."""

    def __init__(self, dlpack: Any) -> None:
        self.__dlpack__ = dlpack

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_an_import_describes_the_exporters_array() -> None:
    """Address, shape, strides in bytes, element type, device."""
    source = array(view=Strided((2, 2), (4, 2), 5))
    taken = take(source)
    assert (taken.address, taken.shape, taken.strides) == (source.element0(), (2, 2), (16, 8))
    assert (taken.dtype.name, taken.device, taken.readonly) == ("float32", (1, 0), False)


def test_null_strides_and_byte_offsets_are_understood() -> None:
    """From versions that allow them (DLP-17, DLP-21)."""
    source = array(strides=None, byte_offset=8, version=(1, 0))
    taken = take(source)
    assert (taken.address, taken.strides) == (source.element0() + 8, (16, 4))


@pytest.mark.parametrize(("newest", "name"), [(NEWEST, USED_VERSIONED), (None, USED_LEGACY)])
def test_a_consumed_capsule_is_marked_and_released_with_the_import(newest: tuple[int, int] | None, name: bytes) -> None:
    """By one call of the deleter, however the capsule ends (DLP-25, DLP-26)."""
    source = array()
    exported = source.__dlpack__(max_version=newest)
    taken = Importer(HostMemory()).take_capsule(exported)
    assert capsule.name(exported) == name
    del exported
    settle()
    assert source.log.deleter_calls == 0
    del taken
    gc.collect()
    assert source.log.deleter_calls == 1


def test_releasing_twice_calls_the_deleter_once() -> None:
    """By hand and then by the end of the object."""
    source = array()
    taken = take(source)
    taken.release()
    taken.release()
    del taken
    assert source.log.deleter_calls == 1


def test_a_capsule_is_taken_once() -> None:
    """The second attempt is refused and changes nothing."""
    source = array()
    exported = source.__dlpack__()
    taken = Importer(HostMemory()).take_capsule(exported)
    with pytest.raises(BufferError, match="DLP-25"):
        Importer(HostMemory()).take_capsule(exported)
    assert (source.log.deleter_calls, taken.shape) == (0, (3, 4))


@pytest.mark.parametrize(
    "override", [{"code": 200}, {"bits": 7}, {"lanes": 4}, {"device": (99, 0)}, {"version": (2, 0)}, {"shape": (-1, 4)}]
)
def test_what_cannot_be_held_is_refused_and_released_once(override: dict[str, Any]) -> None:
    """The capsule is ours by then, so the deleter is ours to call (DLP-04, DLP-05, DLP-14)."""
    source = array(**override)
    exported = source.__dlpack__(max_version=NEWEST)
    with pytest.raises(BufferError):
        Importer(HostMemory()).take_capsule(exported)
    assert capsule.name(exported) == USED_VERSIONED
    assert source.log.deleter_calls == 1


def test_a_malformed_struct_is_left_in_its_capsule() -> None:
    """It is never taken over, so the capsule releases it."""
    source = array(ndim=-1)
    with pytest.raises(ValueError, match="ndim"):
        take(source)
    settle()
    assert source.log.deleter_calls == 1


def test_a_struct_without_deleter_is_held_and_dropped() -> None:
    """NULL is allowed (DLP-26)."""
    source = array(deleter=Deleter.NULL)
    assert take(source).address == source.element0()


def test_a_newer_minor_version_is_taken() -> None:
    """Every value in it is understood (DLP-05)."""
    assert take(array(version=(1, 99))).shape == (3, 4)


def test_an_older_producer_is_asked_again_with_fewer_keywords() -> None:
    """As long as it is the keywords that it does not know (DLP-30), in Python's words or in those of pybind11."""
    source = array()

    def bound(**keywords: Any) -> Any:
        if "max_version" in keywords:
            raise TypeError(
                "__dlpack__(): incompatible function arguments. The following argument types are supported:"
            )
        return source.__dlpack__()

    for method in (lambda stream=None: source.__dlpack__(), bound):
        assert take(Object(method)).address == source.element0()


def test_what_a_producer_raises_is_not_touched() -> None:
    """A ``TypeError`` from inside is no question of keywords (DLP-41)."""
    calls: list[Any] = []

    def refuse(**keywords: Any) -> Any:
        calls.append(keywords)
        raise TypeError("not my type")

    with pytest.raises(TypeError, match="not my type"):
        take(Object(refuse))
    assert calls == [{"stream": None, "max_version": NEWEST}]


def test_the_stream_is_named_on_cuda_and_left_out_on_the_host() -> None:
    """1 for the legacy default stream (DLP-35, DLP-36)."""
    for cuda, stream in ((False, None), (True, 1)):
        source = array(cuda=cuda)
        take(source, cuda=cuda)
        assert source.log.dlpack[0].keywords["stream"] == stream


def test_host_and_cuda_memory_are_not_mixed_up() -> None:
    """Before anything is asked for (DLP-45)."""
    source = array()
    with pytest.raises(BufferError, match="DLP-45"):
        take(source, cuda=True)
    assert source.log.dlpack == []


def test_a_part_of_an_import_holds_the_whole() -> None:
    """And is at the right place in it."""
    source = array()
    whole = take(source)
    part = whole.importer.part(whole, Index((slice(1, None), slice(1, 3))))
    assert (part.address, part.shape, part.strides) == (source.element0() + 20, (2, 2), (16, 4))
    del whole
    assert source.log.deleter_calls == 0
    del part
    assert source.log.deleter_calls == 1


def test_a_dictionary_is_read_and_its_owner_held() -> None:
    """As users expect of it, though nothing demands it (CAI-27)."""
    source = array(cuda=True, view=Strided((2, 2), (4, 2), 5))
    taken = Importer(source.memory).take_cai(source)
    assert (taken.address, taken.shape, taken.strides) == (source.element0(), (2, 2), (16, 8))
    assert taken.holder is source
    taken.release()
    assert taken.holder is None


@pytest.mark.parametrize("changes", [{"mask": object()}, {"typestr": ">f4"}, {"data": (1, False)}])
def test_dictionaries_that_cannot_be_understood_are_refused(changes: dict[str, Any]) -> None:
    """Masks are not dropped, bytes not swapped, addresses not believed (CAI-05, CAI-15)."""
    source = array(cuda=True)
    source.cai_override = changes
    with pytest.raises((TypeError, ValueError)):
        Importer(source.memory).take_cai(source)


def test_missing_strides_mean_packed() -> None:
    """As ``None`` does (CAI-10)."""
    memory = simulated()
    block = memory.allocate(48)

    class Plain:
        __cuda_array_interface__ = cai.build((3, 4), "<f4", block.address, version=2)

    assert Importer(memory).take_cai(Plain()).strides == (16, 4)


@pytest.mark.parametrize("version", [3, 4])
def test_a_published_stream_that_is_none_of_the_device_is_told_by_its_number(version: int) -> None:
    """Not as a key that a table lacks: that would mean that the reader broke."""
    source = array(cuda=True)
    source.cai_override = {"stream": 77, "version": version}
    with pytest.raises(NoSuchStream, match="no stream 77"):
        Importer(source.memory).take_cai(source)
