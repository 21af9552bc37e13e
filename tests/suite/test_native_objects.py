"""Objects that are handed over as they are: which pairs are tried, and what is held against whom."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, View
from conformance.adapters.calls import ARRAY, BUFFER, CAI, DLPACK, READONLY, UserCall, has
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.registry import create
from conformance.adapters.special import State
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Partners, Source
from conformance.checks.libraries import REFERENCE, Called, Side
from conformance.checks.native_comparison import judge_array, judge_state
from conformance.checks.native_handover import Gives, Got, Memory, by_protocols, gives, listening, natively, way
from conformance.checks.outcomes import Failure, Outcome, Refused
from conformance.checks.outcomes import Side as Accused
from conformance.execution import probe
from conformance.execution.case_names import everything
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults.lifetime import ImportNotHeldByItsExport
from conformance.protocols.clauses import Level, Role
from conformance.reference.exporter import Exporter
from conformance.suite.test_native import objects

ALL = everything((Device.HOST, Device.CUDA))
MAKES = UserCall("make", lambda adapter, thing, device: thing, may_copy=True)
TAKES = UserCall("take", lambda adapter, thing, device: thing, DLPACK)
FLATTENS = UserCall("flatten", lambda adapter, thing, device: thing, may_copy=True, flattens=True)
ELEMENTS = b"right..."


def exchange(call: str = "reference.from_dlpack", **parameters: str) -> Exchange:
    """A case of two references on host memory."""
    given = (("call", call), *parameters.items())
    adapter = ReferenceAdapter()
    return Exchange(
        Case("native.x", REFERENCE, REFERENCE, "dlpack", Device.HOST, given), Partners(lambda name: adapter)
    )


# -- which are tried


def test_each_pair_is_tried_once_on_a_device() -> None:
    """By the protocol that it has; a library's own arrays do not change hands."""
    pairs = [(pair.producer.name, pair.consumer.name, pair.device) for pair in objects(ALL)]
    assert len(pairs) == len(set(pairs))
    assert {(a, b) for a, b, _ in pairs if a == b} == {(REFERENCE, REFERENCE)}
    assert ("pycuda", "cupy", Device.CUDA) in pairs
    assert ("torch", "numpy", Device.HOST) in pairs


def test_every_documented_call_is_tried() -> None:
    """Also those for which no protocol has a name."""
    called = {case.option("call") for case in catalogue()["native.as-protocol"].cases(ALL)}
    assert {
        "numpy.asarray", "numpy.from_dlpack", "torch.as_tensor", "torch.asarray", "torch.from_dlpack", "cupy.asarray", "cupy.from_dlpack",
        "cvcuda.as_tensor", "jax.numpy.asarray", "jax.dlpack.from_dlpack", "cuda.core.from_dlpack", "cuda.core.from_any_interface",
        "cuda.core.from_cuda_array_interface", "cuda.core.from_array_interface", "pycuda.kernel-argument", "pycuda.GPUArray-gpudata",
    } <= called  # fmt: skip


def test_arrays_on_a_gpu_are_handed_to_libraries_of_the_host() -> None:
    """They share no protocol there, and the table says whether an array goes through the host."""
    cases = {case.id for case in catalogue()["native.as-protocol"].cases(ALL)}
    assert "native.as-protocol/torch-numpy/dlpack/cuda/numpy.asarray/c-order" in cases
    assert "native.as-protocol/pycuda-jax/cai/cuda/jax.numpy.asarray/c-order" in cases
    assert not any("numpy-torch" in name and "/cuda/" in name for name in cases)


def test_every_element_type_of_a_producer_is_handed_over_as_it_is() -> None:
    """A consumer that reads a type has a table of element types, of which one row can be wrong."""
    cases = catalogue()["native.as-protocol"].cases(ALL)
    tried = {case.option("dtype", "float32") for case in cases if (case.producer, case.consumer) == ("numpy", "torch")}
    assert set(create("numpy").candidate_dtypes) <= tried


def test_a_case_of_a_layout_says_what_is_special_before_anybody_is_asked() -> None:
    """A process that dies in an import says no more."""
    assert exchange(array="reversed").given == "an array with negative strides"


def test_no_order_is_looked_at_through_a_call_that_waits() -> None:
    """The address of a kernel's argument is read back, which waits for the device."""
    called = {case.option("call") for case in catalogue()["native.ordering"].cases(ALL)}
    assert "pycuda.GPUArray-gpudata" in called
    assert "pycuda.kernel-argument" not in called


def test_calls_are_kept_with_the_environment() -> None:
    """And an environment from before there were any is still read."""
    called = Called.of(create("torch"), Device.HOST)
    assert Called.from_json(called.to_json()) == called
    assert called.dlpack == ("torch.from_dlpack",)
    assert Called.from_json({}) == Side((), (), (), ()).called


# -- plain arrays


def plain(source: Source, **changes: Any) -> Got:
    """An import that shares a source's memory, with something changed."""
    values = changes.pop("values", source.values)
    view = View(source.address, source.view.shape, source.strides, source.dtype.name, (1, 0), readonly=False)
    return Got(view=replace(view, **changes), values=values)


def judged(call: UserCall, native: Callable[[Source], Got], behind: Callable[[Source], Got] = plain) -> Failure | None:
    """The failure of a plain array, if there is one."""
    case = exchange(call.name)
    source = case.source()
    try:
        judge_array(case, source, call, native(source), {Protocol.DLPACK: behind(source)})
    except Failure as failure:
        return failure
    return None


def refusing(error: Exception) -> Callable[[Source], Got]:
    """A refusal."""
    return lambda source: Got(error)


def elsewhere(source: Source) -> Got:
    """A copy."""
    return plain(source, address=source.address + (1 << 20))


def test_the_result_of_a_protocol_is_right() -> None:
    """Shared or copied alike."""
    assert judged(TAKES, plain) is None
    assert judged(TAKES, elsewhere, elsewhere) is None


def test_a_constructor_may_copy_what_a_protocol_shares() -> None:
    """An import may not."""
    assert judged(MAKES, elsewhere) is None
    failure = judged(TAKES, elsewhere)
    assert failure
    assert (failure.code, failure.accused, failure.level) == (Code.NOT_SHARED, Accused.CONSUMER, Level.SHOULD)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"shape": (12,)}, Code.SHAPE_CHANGED),
        ({"dtype": "int32"}, Code.DTYPE_CHANGED),
        ({"strides": (4, 12)}, Code.STRIDES_CHANGED),
        ({"device": (2, 0)}, Code.WRONG_DEVICE),
        ({"values": b"\0" * 48}, Code.VALUES_CHANGED),
    ],
)
def test_another_description_is_held_against_the_consumer(changes: dict[str, Any], code: Code) -> None:
    """It has read the object past the protocol. The demand is inferred, so it deviates."""
    failure = judged(TAKES, lambda source: plain(source, **changes))
    assert failure
    assert (failure.code, failure.clause, failure.role, failure.level) == (code, "NAT-01", Role.CONSUMER, Level.SHOULD)


def test_a_shifted_address_is_told_as_one() -> None:
    """Though it lies in the producer's memory."""
    failure = judged(TAKES, lambda source: plain(source, address=source.address + 4))
    assert failure
    assert failure.code is Code.WRONG_ADDRESS


def test_read_only_must_not_be_lost_and_may_be_added() -> None:
    """What cannot be written does no harm; what is not said is not judged."""
    lost = judged(TAKES, lambda source: plain(source, readonly=False), lambda source: plain(source, readonly=True))
    assert lost
    assert lost.code is Code.READONLY_LOST
    assert judged(TAKES, lambda source: plain(source, readonly=True)) is None
    assert (
        judged(TAKES, lambda source: plain(source, readonly=None), lambda source: plain(source, readonly=True)) is None
    )


def test_a_buffer_that_is_documented_to_be_flattened_is_observed() -> None:
    """Nobody is accused of what the documentation says."""
    failure = judged(FLATTENS, lambda source: plain(source, shape=(12,), strides=(4,)))
    assert failure
    assert (failure.level, failure.accused) == (Level.OBSERVED, Accused.NEITHER)


def test_a_copy_by_another_way_is_right_where_the_protocols_refuse() -> None:
    """NumPy's extension types go through its own interface, and have no number in DLPack."""
    assert judged(MAKES, elsewhere, refusing(BufferError("no"))) is None
    assert judged(MAKES, plain, refusing(BufferError("no"))) is None


def test_the_same_refusal_is_right() -> None:
    """Whichever exception it is."""
    assert judged(TAKES, refusing(TypeError("no")), refusing(TypeError("no"))) is None


def test_a_constructor_may_refuse_what_it_does_not_know() -> None:
    """That is no failure of this invariant: another one compares the calls."""
    with pytest.raises(Refused):
        judged(MAKES, refusing(ValueError("no")))


def test_an_import_must_take_the_object_that_it_takes_behind_the_protocol() -> None:
    """It is the same call."""
    failure = judged(TAKES, refusing(ValueError("no")))
    assert failure
    assert failure.code is Code.NATIVE_REFUSED


def test_any_refusal_is_right_without_a_protocol_in_common() -> None:
    """A library of the host has nothing that it could do with memory of a GPU."""
    case = exchange("make")
    source = case.source()
    with pytest.raises(Refused):
        judge_array(case, source, MAKES, Got(AssertionError()), {})
    judge_array(case, source, MAKES, elsewhere(source), {})
    with pytest.raises(Failure):
        judge_array(case, source, MAKES, replace(elsewhere(source), values=b""), {})


def test_an_exception_of_the_producers_attribute_is_not_the_consumers() -> None:
    """A property that raises ``KeyError`` ends every look for the protocol."""

    class Odd:
        @property
        def __cuda_array_interface__(self) -> Any:
            raise KeyError("bfloat16")

    case = exchange("make")
    source = case.source()
    case.producer.native = lambda array, protocol: Odd()  # type: ignore[method-assign]
    with pytest.raises(Refused, match="KeyError"):
        judge_array(case, source, MAKES, Got(KeyError("bfloat16")), {Protocol.DLPACK: plain(source)})


# -- several calls


def _as_array(refused: Callable[[Any], bool], *refuses: tuple[str, str]) -> UserCall:
    """A call that takes whatever it knows, save for some objects, and may say that it refuses them."""

    def take(adapter: Any, thing: Any, device: Device) -> Any:
        if refused(thing):
            raise ValueError("no")
        return adapter.importer(device).take_any(thing)

    return UserCall("reference.as_array", take, knows=(DLPACK, CAI), refuses=refuses)


def agreement(call: UserCall, array: str, device: Device = Device.SIMULATED) -> Result:
    """The answers of this call and of the others for one object."""
    adapter = ReferenceAdapter()
    adapter.calls = (*ReferenceAdapter.calls[:-1], call)  # type: ignore[misc]
    case = Case("native.calls-agree", REFERENCE, REFERENCE, "dlpack", device, (("array", array),))
    return Workbench({REFERENCE: adapter}).run(case, catalogue()[case.invariant])


def _is_readonly(thing: Any) -> bool:
    return bool(thing.readonly)


def test_a_call_that_refuses_what_others_take_deviates() -> None:
    """No document tells its users so."""
    result = agreement(_as_array(_is_readonly), READONLY)
    assert (result.level, result.accused.side) == (Level.SHOULD, Accused.CONSUMER)


def test_a_refusal_that_is_documented_is_observed() -> None:
    """It is recorded, and nobody is accused of it."""
    result = agreement(_as_array(_is_readonly, (READONLY, CAI)), READONLY)
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert result.accused.side is Accused.NEITHER


@pytest.mark.parametrize(
    ("call", "array", "device"),
    [
        (_as_array(lambda thing: True, (READONLY, CAI)), "c-order", Device.SIMULATED),
        (_as_array(_is_readonly, (READONLY, CAI)), READONLY, Device.HOST),
        (_as_array(_is_readonly, ("stepped", CAI)), READONLY, Device.SIMULATED),
    ],
    ids=("another-array", "without-the-attribute", "of-another-array"),
)
def test_a_documented_refusal_excuses_no_other(call: UserCall, array: str, device: Device) -> None:
    """It is that of one array, taken by one attribute: objects on host memory have no dictionary."""
    assert agreement(call, array, device).level is Level.SHOULD


def test_pytorch_says_that_it_takes_no_read_only_dictionaries() -> None:
    """A tensor can always be written; by DLPack the user is responsible."""
    found = {call.name: call.refuses for call in create("torch").calls}
    assert found == {"torch.as_tensor": ((READONLY, CAI),), "torch.asarray": (), "torch.from_dlpack": ()}


# -- states

LAZY = State("lazy", lambda adapter, device, use: None, unresolved=True)
WRONG = b"wrong..."


def lazily(
    native: Got, again: Got, behind: Mapping[Protocol, Got], elements: bytes | None = ELEMENTS
) -> Failure | None:
    """The failure of an array in a state, if there is one."""
    adapter = ReferenceAdapter()
    adapter.states = (LAZY,)  # type: ignore[misc]
    given = (("call", "reference.from_dlpack"), ("state", "lazy"))
    case = Exchange(
        Case("native.x", REFERENCE, REFERENCE, "dlpack", Device.HOST, given), Partners(lambda name: adapter)
    )
    try:
        judge_state(case, LAZY, native, again, behind, elements)
    except Failure as failure:
        return failure
    return None


def taken(values: bytes, address: int = 4096) -> Got:
    """An import of two float32."""
    return Got(view=View(address, (2,), (4,), "float32", (1, 0)), values=values)


REFUSED = {Protocol.DLPACK: Got(BufferError("no"))}


def test_the_refusal_of_the_protocols_is_right_for_the_object_too() -> None:
    """With the kind of exception that the protocol names."""
    assert lazily(Got(BufferError("no")), Got(BufferError("no")), REFUSED) is None
    failure = lazily(Got(RuntimeError("no")), Got(RuntimeError("no")), REFUSED)
    assert failure
    assert (failure.code, failure.clause) == (Code.WRONG_EXCEPTION, "NAT-02")


def test_a_resolved_copy_is_right() -> None:
    """Two copies lie in different places."""
    assert lazily(taken(ELEMENTS), taken(ELEMENTS, 8192), REFUSED) is None


def test_shared_memory_of_what_the_protocols_refuse_deviates() -> None:
    """A tensor that needs a gradient is then written past it."""
    failure = lazily(taken(ELEMENTS), taken(ELEMENTS), REFUSED)
    assert failure
    assert (failure.code, failure.level, failure.accused) == (Code.NOT_REFUSED, Level.SHOULD, Accused.CONSUMER)


def test_unresolved_elements_deviate_where_the_protocols_refuse() -> None:
    """The consumer reads the memory by the type, and the lazy operation is lost."""
    failure = lazily(taken(WRONG), taken(WRONG), REFUSED)
    assert failure
    assert (failure.code, failure.clause, failure.accused) == (Code.UNRESOLVED_ELEMENTS, "NAT-02", Accused.CONSUMER)


def test_wrong_elements_that_a_protocol_gives_too_are_the_producers() -> None:
    """They are one mistake, and the consumer has made none."""
    failure = lazily(taken(WRONG), taken(WRONG), {Protocol.DLPACK: taken(WRONG)})
    assert failure
    assert (failure.code, failure.role, failure.accused) == (Code.UNRESOLVED_ELEMENTS, Role.PRODUCER, Accused.PRODUCER)


def test_memory_that_nobody_knows_accuses_nobody_twice() -> None:
    """A consumer that makes memory of its own for a NULL address reads something else each time."""
    assert lazily(taken(WRONG), taken(WRONG), {Protocol.DLPACK: taken(b"other...")}) is None


# -- what is told


def test_methods_that_are_written_in_python_are_seen() -> None:
    """And what listened before listens again."""
    case = exchange()
    source = case.source()
    result = natively(case, source.array)
    assert result.asked == ("__dlpack__",)
    assert way(result, by_protocols(case, source.array)) == "by `__dlpack__`"
    before = sys.getprofile()
    with listening([]):
        assert sys.getprofile() is not before
    assert sys.getprofile() is before


def test_the_way_is_told_only_where_it_can_be_seen() -> None:
    """A compiled method is not seen, whether it is called or not."""
    behind = Got(view=taken(b"").view, asked=("__dlpack__",))
    assert way(taken(b""), {Protocol.DLPACK: behind}) == "by its type, a C exchange table or a buffer"
    assert way(taken(b""), {Protocol.DLPACK: taken(b"")}) == "way not observed"
    assert way(Got(TypeError()), {Protocol.DLPACK: behind}) == "way not observed"


def test_what_a_call_gives_is_told_by_the_address() -> None:
    """On a GPU a copy that went through the host is told apart, where that can be seen."""
    memory = Memory(4096, 8192)
    assert gives(taken(b""), memory, Device.CUDA) is Gives.SHARES
    assert gives(taken(b"", 16), memory, Device.HOST) is Gives.COPIES
    assert gives(taken(b"", 16), memory, Device.CUDA) is Gives.BY_HOST
    assert gives(Got(TypeError()), memory, Device.HOST) is Gives.REFUSES


def test_an_attribute_that_raises_is_none() -> None:
    """An object is not one of those that a call is documented for, then."""

    class Odd:
        @property
        def __array__(self) -> Any:
            raise RuntimeError("on a GPU")

    assert not has(Odd(), ARRAY)
    assert not has(Odd(), BUFFER)
    assert has(b"", BUFFER)


# -- several calls


class ShowsByTheInterfaceAlone(Exporter):
    """Strided arrays are refused by DLPack, and shown by the array interface."""

    def fields(self, version: Any, *, copied: bool) -> Any:
        if not self.contiguous:
            raise BufferError("strided arrays are not exported")
        return super().fields(version, copied=copied)


def test_what_a_producer_refuses_by_one_protocol_is_no_disagreement_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is accused, least of all the producer by a clause of consumers."""
    monkeypatch.setenv(probe.SIMULATE, "1")
    producer = type("Library", (ReferenceAdapter,), {"name": "picky", "exporter_class": ShowsByTheInterfaceAlone})()
    case = Case("native.calls-agree", "picky", REFERENCE, "dlpack", Device.SIMULATED, (("array", "stepped"),))
    result = Workbench({REFERENCE: ReferenceAdapter(), "picky": producer}).run(case, catalogue()[case.invariant])
    assert (result.outcome.value, result.accused) == ("refused", None), result.reason


# -- elements without a word


@pytest.mark.parametrize(
    ("dtype", "outcome"), [("float32", "fail"), ("int64", "fail"), (">f4", "pass"), ("datetime64[s]", "pass")]
)
def test_elements_that_the_protocols_refuse_are_not_shared_as_other_numbers(dtype: str, outcome: str) -> None:
    """A result that names the elements' own type is right, whatever the protocols say."""

    class Short(ReferenceAdapter):
        name = "short"
        calls = (
            UserCall("short.array", lambda adapter, thing, device: View(thing.element0(), (3,), (8,), dtype, None)),
        )

        def describe(self, array: Any) -> View:
            return array if isinstance(array, View) else super().describe(array)

        def read(self, array: Any) -> bytes:
            return b"" if isinstance(array, View) else super().read(array)

    given = (("call", "short.array"), ("elements", "datetime64"))
    case = Case("native.elements", REFERENCE, "short", "dlpack", Device.HOST, given)
    result = Workbench({REFERENCE: ReferenceAdapter(), "short": Short()}).run(case, catalogue()[case.invariant])
    assert result.outcome.value == outcome, result.reason
    assert outcome == "pass" or result.clause == "NAT-01"


# -- on real libraries


@pytest.mark.parametrize("consumer", ["numpy"])
def test_an_object_of_a_derived_class_is_asked_by_itself(consumer: str) -> None:
    """NumPy asks every object's own method."""
    pytest.importorskip(consumer)
    invariant = catalogue()["native.subclass"]
    case = Case(
        "native.subclass",
        REFERENCE,
        consumer,
        "dlpack",
        Device.HOST,
        (("call", "numpy.from_dlpack"), ("array", "own-dlpack")),
    )
    result = Workbench().run(case, invariant)
    assert (result.outcome.value, result.attachments["asked"]) == ("pass", "yes")


# -- memory


class _Faulty(ReferenceAdapter):
    """A producer whose capsules do not hold an array that it has imported."""

    name = "faulty"
    exporter_class = ImportNotHeldByItsExport


@pytest.mark.parametrize("call", ["reference.from_dlpack", "reference.as_array"])
def test_a_producer_that_releases_under_its_own_capsule_is_accused_in_place_of_the_consumer(call: str) -> None:
    """The consumer can only keep what the capsule keeps, whichever call the user made."""
    other = ReferenceAdapter()
    other.name = "other"  # type: ignore[misc]
    case = Case("native.keeps-memory", "faulty", "other", "dlpack", Device.HOST, (("call", call),))
    bench = Workbench({REFERENCE: ReferenceAdapter(), "faulty": _Faulty(), "other": other})
    result = bench.run(case, catalogue()[case.invariant])
    assert (result.outcome, result.level, result.clause) == (Outcome.FAIL, Level.MUST, "DLP-28")
    assert result.accused.side is Accused.PRODUCER
