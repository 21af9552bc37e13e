"""The family ``combination``: its words for a failure, and the partners that it does not accuse."""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import replace
from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import Fault, all_faults
from conformance.faults.pointer import move
from conformance.protocols.cai import ArrayInterface
from conformance.protocols.clauses import Level
from conformance.protocols.dlpack import DLFlags, Tensor
from conformance.protocols.dtypes import DLCode, DType
from conformance.protocols.strided import Strided, c_strides
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.memory import ALIGNMENT, Block, BorrowedBlock, Memory, gather_by_bytes

from .conftest import Runner, broken

INVARIANT = "combination.exchange"
DEFAULT_ORDER = ("dtype", "layout", "rank", "size", "offset", "access", "content", "form", "path", "count", "place")


@pytest.fixture(autouse=True)
def with_no_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that an earlier test has loaded may have started some."""
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["1"] if path == "/proc/self/task" else listed(path))


def run(fault: Fault | None = None, *, device: Device = Device.HOST, protocol: str = "dlpack", **levels: str) -> Result:
    """The case with these levels, of a library with this fault and the reference."""
    sides = ("flawed", "reference") if fault is None or fault.importer is Importer else ("reference", "flawed")
    made = broken(fault) if fault else ReferenceAdapter()
    made.name = "flawed"
    parameters = tuple((name, levels[name]) for name in DEFAULT_ORDER if name in levels)
    case = Case(INVARIANT, *sides, protocol, device, parameters)
    return Workbench({"reference": ReferenceAdapter(), "flawed": made}).run(case, catalogue()[INVARIANT])


def with_exporter(exporter: type[Exporter]) -> Fault:
    return Fault("fault", "fault", (INVARIANT,), exporter=exporter)


def with_importer(importer: type[Importer]) -> Fault:
    return Fault("fault", "fault", (INVARIANT,), importer=importer)


class StridesOfWideLost(Exporter):
    """Exports strided arrays of 8-byte elements as packed ones."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return c_strides(self.view.shape) if self.dtype.itemsize == 8 else super().dl_strides(version)


WIDE = tuple(("dtype", name) for name in ("int64", "uint64", "float64", "complex64"))


def test_a_check_with_levels_that_are_missing_is_not_made() -> None:
    """At a point of another element type only a check with 8-byte elements shows the fault; the plan tells the case that there are none."""
    fault = with_exporter(StridesOfWideLost)
    flawed = broken(fault)
    flawed.name = "flawed"
    case = Case(INVARIANT, "flawed", "reference", "dlpack", Device.HOST, (("layout", "stepped"),))
    seen = [
        Workbench({"reference": ReferenceAdapter(), "flawed": flawed}).run(
            replace(case, missing=missing), catalogue()[INVARIANT]
        )
        for missing in ((), WIDE)
    ]
    assert [(result.outcome, result.code) for result in seen] == [
        (Outcome.FAIL, Code.STRIDES_CHANGED.value), (Outcome.PASS, "")
    ]  # fmt: skip


def test_missing_levels_travel_in_the_plan_alone() -> None:
    """They are neither in the id nor in what makes two cases one; only a line of a case that lacks something has them."""
    case = Case(INVARIANT, "reference", "numpy", "dlpack", Device.HOST, (("layout", "stepped"),))
    lacking = replace(case, missing=WIDE)
    assert (lacking.id, lacking, hash(lacking)) == (case.id, case, hash(case))
    assert Case.from_json(json.loads(json.dumps(lacking.to_json()))).missing == WIDE
    assert "missing" not in case.to_json()
    assert Case.from_json(case.to_json()).missing == ()


def test_a_case_is_planned_with_the_levels_that_its_producer_lacks(reference_environment: Environment) -> None:
    """Those that the producer does not make, for exchanges with the reference, which alone repeat checks."""
    (reference,) = reference_environment.libraries
    narrow = {device: replace(side, dtypes=("float32", "int16")) for device, side in reference.sides.items()}
    env = Environment((reference, replace(reference, name="narrow", sides=narrow)))
    planned = [case for case in catalogue()[INVARIANT].cases(env) if case.device is Device.HOST]
    lacking = {case.libraries for case in planned if set(WIDE[:1]) <= set(case.missing)}
    assert lacking == {("narrow", "reference")}


def test_a_failure_names_only_the_levels_that_it_needs() -> None:
    """Of five levels two; in the words of older invariants."""
    result = run(
        with_exporter(StridesOfWideLost),
        dtype="int64",
        layout="stepped",
        rank="rank-3",
        access="readonly",
        count="second",
    )
    assert (result.code, result.given) == (Code.STRIDES_CHANGED.value, "an array of int64 that is also a strided view")


class NeverStrided(Exporter):
    """Exports all strided arrays as packed ones."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return c_strides(self.view.shape)


def test_a_failure_of_one_level_has_the_words_of_an_older_invariant() -> None:
    """So that both are one finding."""
    result = run(with_exporter(NeverStrided), dtype="int64", layout="stepped", rank="rank-3")
    assert (result.code, result.given) == (Code.STRIDES_CHANGED.value, "a strided view")


class Shifted(Exporter):
    """Exports every array from its second element on."""

    def dl_data(self) -> int:
        return super().dl_data() + self.dtype.itemsize


def test_a_failure_of_every_array_names_no_level() -> None:
    """The finding of a plain array."""
    result = run(with_exporter(Shifted), dtype="int8", layout="transposed", count="again")
    assert (result.code, result.given) == (Code.WRONG_ADDRESS.value, "")


class LeaksStrided(Importer):
    """Never releases a strided import."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if not taken.contiguous:
            taken.tensor = None
        return taken


def test_a_lost_release_names_the_level_that_it_needs() -> None:
    """Where plain imports are released."""
    result = run(with_importer(LeaksStrided), dtype="int8", layout="padded", size="page")
    assert (result.code, result.given) == (Code.NOT_RELEASED.value, "a strided view")


class MayCopy(Importer):
    """Copies what is misaligned and what is not row-major, unless that is forbidden, and releases the original at once."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        taken = super().take_dlpack(source, **requested)
        if requested.get("copy") is False or (taken.contiguous and taken.address % ALIGNMENT == 0):
            return taken
        tensor, taken.tensor = taken.tensor, None
        moved = move(taken)
        moved.holder = moved.holder[1]
        assert tensor is not None
        self.call_deleter(tensor)
        return moved


@pytest.fixture(scope="module")
def of_copying(run_reference: Runner) -> list[Result]:
    """All points on host memory with a consumer that copies where it may."""
    return run_reference(INVARIANT, with_importer(MayCopy), (Device.HOST,))


def test_a_consumer_that_copies_where_it_may_is_not_accused(of_copying: list[Result]) -> None:
    """Neither of the copy nor of an early release. A copy that is exported again cannot be watched."""
    wrong = [(r.case.id, r.reason) for r in of_copying if r.outcome not in (Outcome.PASS, Outcome.REFUSED)]
    assert not wrong
    assert all("reexport" in r.case.id for r in of_copying if r.outcome is Outcome.REFUSED)


def test_a_copy_without_a_request_is_noted(of_copying: list[Result]) -> None:
    """Beside the result."""
    assert any("protocol allows" in result.attachments.get("copy", "") for result in of_copying)


class CopiesAll(Importer):
    """Copies every import."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        return move(super().take_dlpack(source, **requested))


def test_a_copy_of_a_plain_array_is_a_failure() -> None:
    """DLPack wants it shared."""
    result = run(with_importer(CopiesAll), size="large")
    assert (result.code, result.given) == (Code.NOT_SHARED.value, "")


class WrongElsewhere(Importer):
    """Reads another address in a process that is not the one which has loaded it."""

    home = os.getpid()

    def dl_address(self, tensor: Tensor) -> int:
        return super().dl_address(tensor) + (0 if os.getpid() == self.home else tensor.bits // 8)


def test_a_failure_in_a_fork_alone_is_a_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No document covers forks."""
    monkeypatch.setattr(WrongElsewhere, "home", os.getpid())
    result = run(with_importer(WrongElsewhere), dtype="int16", place="in-fork")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.SHOULD)
    assert (result.code, result.given) == (Code.WRONG_ADDRESS.value, "an exchange in a forked process")


class DiesElsewhere(Importer):
    """Ends a process that is not the one which has loaded it."""

    home = 0

    def dl_address(self, tensor: Tensor) -> int:
        if os.getpid() != self.home:
            os._exit(3)
        return super().dl_address(tensor)


def test_a_fork_that_ends_is_a_matter_of_robustness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the case goes on."""
    monkeypatch.setattr(DiesElsewhere, "home", os.getpid())
    result = run(with_importer(DiesElsewhere), place="in-fork")
    assert (result.outcome, result.level, result.seen) == (Outcome.FAIL, Level.ROBUSTNESS, "exit code 3")


def test_a_death_in_a_fork_of_a_process_with_threads_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX promises nothing for it."""
    monkeypatch.setattr(DiesElsewhere, "home", os.getpid())
    monkeypatch.setattr(os, "listdir", lambda _: ["1", "2"])
    result = run(with_importer(DiesElsewhere), place="in-fork")
    assert (result.outcome, "2 threads" in result.reason) == (Outcome.INCONCLUSIVE, True)


class ExtraKeyword(Exporter):
    """Refuses ``dl_device``, even the array's own device, if the array is strided."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        if dl_device is not None and not self.view.contiguous:
            raise BufferError("not on this device")


def test_checks_of_other_families_are_made_at_the_point() -> None:
    """The case reports their failure in their words."""
    result = run(with_exporter(ExtraKeyword), layout="stepped", rank="rank-3")
    assert (result.code, result.clause, result.given) == (Code.OWN_DEVICE_REFUSED.value, "DLP-61", "a strided view")


class NoDeviceAtAll(Exporter):
    """Refuses ``dl_device``, even the array's own device."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        if dl_device is not None:
            raise BufferError("not on this device")


@pytest.mark.parametrize("place", ["here", "in-thread", "in-fork"])
def test_a_failure_of_a_plain_array_is_left_to_the_other_family(place: str) -> None:
    """Otherwise every point would fail by it, and show nothing else."""
    assert run(with_exporter(NoDeviceAtAll), layout="stepped", place=place).outcome is Outcome.PASS


class RefusesLarge(Importer):
    """Refuses arrays of more than 64 Ki elements in a clean way."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.view.size > 1 << 16:
            taken.tensor = None  # the caller releases it
            raise BufferError("too large")
        return taken


def test_a_plain_array_is_not_refused_for_its_size() -> None:
    """The array API standard promises it; not where it is special otherwise."""
    fault = with_importer(RefusesLarge)
    result = run(fault, size="large", count="again")
    assert (result.outcome, result.code, result.given) == (
        Outcome.FAIL, Code.REFUSED.value, "an array of more than 64 Ki elements",
    )  # fmt: skip
    assert run(fault, size="large", layout="stepped").outcome is Outcome.REFUSED


class WritesBehind(Importer):
    """Writes the byte behind the last element of a view."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if not taken.contiguous:
            self.memory.write(
                taken.address
                + taken.dtype.itemsize
                * sum((n - 1) * s // taken.dtype.itemsize for n, s in zip(taken.shape, taken.strides))
                + taken.dtype.itemsize,
                b"\xff",
            )
        return taken


def test_a_write_beside_the_view_is_seen() -> None:
    """All bytes of the block are what they were."""
    assert run(with_importer(WritesBehind), layout="padded").code == Code.WRITE_OUTSIDE.value


def test_rows_may_lie_further_apart_than_32_bits_count() -> None:
    """In memory that is only reserved."""
    assert run(size="huge", dtype="complex128", count="second").outcome is Outcome.PASS


def test_versions_of_dlpack_and_of_the_dictionary_are_made() -> None:
    """The reference offers and asks for them."""
    for form in ("version-1.0", "legacy", "version-1.9"):
        assert run(form=form).outcome is Outcome.PASS
    for form in ("dictionary-2", "strides-told", "dictionary-2-strides-told"):
        assert run(form=form, protocol="cai", device=Device.SIMULATED).outcome is Outcome.PASS


class BaseNotKept(Exporter):
    """A view does not keep the memory of its base."""

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **more: Any) -> None:
        is_part = view.size * dtype.itemsize < block.nbytes
        super().__init__(memory, BorrowedBlock(block.address, None) if is_part else block, dtype, view, **more)


@pytest.mark.parametrize("protocol", ["dlpack", "cai"])
@pytest.mark.parametrize("size", ["few", "large"])
def test_a_base_that_is_not_kept_is_a_failure_with_reused_and_with_unmapped_memory(size: str, protocol: str) -> None:
    """Memory that the system has taken back does not end the process that judges."""
    device = Device.HOST if protocol == "dlpack" else Device.SIMULATED
    result = run(with_exporter(BaseNotKept), device=device, protocol=protocol, size=size, path="view")
    assert result.outcome is Outcome.FAIL, result.reason
    assert result.code in (Code.RELEASED_EARLY.value, Code.VALUES_CHANGED.value)


class OwnerNotKept(Exporter):
    """An export does not keep its array."""

    def export(self, fields: Fields, owner: Any) -> Any:
        return super().export(fields, None)


@pytest.mark.parametrize("size", ["few", "page", "large"])
def test_an_array_that_is_not_kept_is_a_failure_with_reused_and_with_unmapped_memory(size: str) -> None:
    """Also by the reference, which would read it."""
    result = run(with_exporter(OwnerNotKept), size=size)
    assert (result.outcome, result.code) == (Outcome.FAIL, Code.RELEASED_EARLY.value)


BESIDE = "an exchange beside that of another view from the same element"


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("StridesOfTheFirstView", "dlpack"), ("LikeTheFirstImport", "dlpack"), ("LikeTheFirstImport", "cai")],
)
def test_what_is_kept_by_address_and_shape_shows_beside_another_view(name: str, protocol: str) -> None:
    """The two views have one start and one shape. Alone each is right."""
    device = Device.HOST if protocol == "dlpack" else Device.SIMULATED
    fault = all_faults()[f"combination.{name}"]
    result = run(fault, device=device, protocol=protocol, count="beside")
    assert (result.code, result.given) == (Code.STRIDES_CHANGED.value, BESIDE)
    assert (
        run(device=device, protocol=protocol, layout="reversed", rank="rank-3", count="beside").outcome is Outcome.PASS
    )


class StridesOfWideWrap(Exporter):
    """Counts the bytes of strides in 32 bits."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return tuple(((stride + 2**31) % 2**32 - 2**31) // self.dtype.itemsize for stride in self.strides_bytes())


def test_a_library_that_cannot_make_far_rows_exports_those_of_an_import() -> None:
    """It need not fill the memory between them."""
    result = run(with_exporter(StridesOfWideWrap), path="far-reexport")
    assert (result.code, result.given) == (
        Code.STRIDES_CHANGED.value, "an import with a stride above 2**31 that is exported again",
    )  # fmt: skip
    assert run(path="far-reexport", dtype="int64", access="readonly").outcome is Outcome.PASS


def test_a_view_of_a_read_only_import_is_read_only() -> None:
    """Else the memory is written through it."""
    result = run(all_faults()["combination.PartsCanBeWritten"], access="readonly")
    assert (result.code, result.level, result.reason) == (
        Code.READONLY_LOST.value, Level.SHOULD, "a view of a read-only import is writable",
    )  # fmt: skip


class OffsetOfLockedLost(Importer):
    """Forgets the ``byte_offset`` of read-only arrays."""

    def dl_address(self, tensor: Tensor) -> int:
        return tensor.data if self.dl_readonly(tensor) else super().dl_address(tensor)


class OffsetOfBytesLost(Importer):
    """Forgets the ``byte_offset`` of elements of a byte."""

    def dl_address(self, tensor: Tensor) -> int:
        return tensor.data if tensor.bits == 8 else super().dl_address(tensor)


@pytest.mark.parametrize(
    ("importer", "levels", "given"),
    [
        (OffsetOfLockedLost, {"access": "readonly"}, "a read-only array, a capsule with a `byte_offset`"),
        (OffsetOfBytesLost, {"dtype": "int8"}, "an array of int8, a capsule with a `byte_offset`"),
    ],
)
def test_a_split_address_is_put_together_at_every_point(
    importer: type[Importer], levels: dict[str, str], given: str
) -> None:
    """The array of that check is read-only where the point's is, and begins 256 elements into its block."""
    result = run(with_importer(importer), **levels)
    assert (result.code, result.given) == (Code.WRONG_ADDRESS.value, given)


class PartsSwapped(Importer):
    """Copies strided complex arrays, and swaps the halves of their elements."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.dtype.name == "complex64" and not taken.contiguous:
            data = gather_by_bytes(self.memory, taken.address, taken.view_in_bytes, 8)
            block = self.memory.allocate(len(data))
            self.memory.write(
                block.address, b"".join(data[n + 4 : n + 8] + data[n : n + 4] for n in range(0, len(data), 8))
            )
            taken.address, taken.strides = block.address, tuple(s * 8 for s in c_strides(taken.shape))
            taken.holder = (taken.holder, block)
        return taken


@pytest.mark.parametrize("content", ["pattern", "raw"])
def test_what_the_mere_exchange_shows_is_not_told_of_a_check(content: str) -> None:
    """Where bits that need not be kept hide it, a check of another family sees it first, with a pattern."""
    result = run(with_importer(PartsSwapped), dtype="complex64", layout="stepped", content=content)
    assert result.given == "an array of complex64 that is also a strided view"


class QuietensInPlace(Importer):
    """Writes to imports of half floats that are strided."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if taken.dtype.name == "float16" and not taken.contiguous:
            self.memory.write(taken.address + 1, b"\x7e")
        return taken


def test_a_consumer_that_changes_the_array_is_told_to_change_it() -> None:
    """And not to read other elements."""
    result = run(with_importer(QuietensInPlace), dtype="float16", layout="stepped", content="raw")
    assert (result.code, result.given.startswith("an array of float16 that is also a strided view")) == (
        Code.SOURCE_CHANGED.value, True,
    )  # fmt: skip


class WritesBehindBytes(Importer):
    """Writes a byte behind packed arrays of bytes."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        if tensor.bits == 8 and taken.contiguous and taken.view.size:
            ctypes.memset(taken.address + taken.view.size, 0, 1)
        return taken


def test_a_byte_behind_the_block_is_told_of_the_array_that_needs_it() -> None:
    """A point whose own array is not written beside has nothing to tell."""
    told = run(with_importer(WritesBehindBytes), dtype="uint8", count="second")
    assert (told.code, told.given) == (Code.WRITE_OUTSIDE.value, "an array of uint8")
    assert run(with_importer(WritesBehindBytes), rank="rank-3").outcome is Outcome.PASS


class TwoLanes(Exporter):
    """Exports complex vectors as pairs of floats, which no consumer takes."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        found = super().fields(version, copied=copied)
        wrong = self.dtype.name == "complex64" and self.view.ndim == 1
        return replace(found, code=int(DLCode.FLOAT), bits=32, lanes=2) if wrong else found


def test_a_refusal_of_a_wrong_type_is_told_of_the_type() -> None:
    """Memory that is not the reference's is not taken for memory that is gone."""
    result = run(with_exporter(TwoLanes), dtype="complex64", rank="rank-1", form="version-1.2", path="shared")
    assert (result.code, result.given) == (
        Code.DTYPE_CHANGED.value, "an array of complex64 that is also an array of 1 dimension",
    )  # fmt: skip


class RefusesBfloat(Exporter):
    def __dlpack__(self, **keywords: Any) -> Any:
        if self.dtype.code is DLCode.BFLOAT:
            raise BufferError("no such type")
        return super().__dlpack__(**keywords)


def test_a_refusal_of_an_array_is_no_refusal_of_a_keyword() -> None:
    """The producer refuses the array without keywords, too."""
    result = run(with_exporter(RefusesBfloat), dtype="bfloat16")
    assert (result.outcome, "no such type" in result.reason) == (Outcome.REFUSED, True)


class KnowsNoKeywordsForComplex(Exporter):
    def __dlpack__(self, **keywords: Any) -> Any:
        if self.dtype.code is DLCode.COMPLEX and keywords:
            raise TypeError(f"unexpected keyword argument {next(iter(keywords))!r}")
        return super().__dlpack__(**keywords)


def test_a_refusal_of_every_keyword_is_told_where_the_array_is_exported_without() -> None:
    """The exchange itself ends as a refusal, because it names a version."""
    result = run(with_exporter(KnowsNoKeywordsForComplex), dtype="complex64", layout="transposed")
    assert (result.outcome, result.code) == (Outcome.FAIL, Code.KEYWORD_REFUSED)


class WantsAStream(Exporter):
    """Refuses strided arrays in host memory unless the stream is -1."""

    def check_stream(self, stream: int | None) -> None:
        if self.view.contiguous:
            super().check_stream(stream)
        elif stream != -1:
            raise BufferError("name a stream")


def test_an_array_is_not_exported_with_a_stream_alone() -> None:
    """In host memory ``None`` has to do."""
    result = run(with_exporter(WantsAStream), layout="padded", access="readonly")
    assert (result.code, result.given) == (Code.KEYWORD_REFUSED.value, "a strided view, `stream=None`")


class ForgetsNewerVersions(Exporter):
    """Answers a newer version than its own by a legacy capsule once it has exported."""

    def negotiate(self, max_version: tuple[int, int] | None) -> tuple[int, int] | None:
        is_newer = max_version is not None and max_version > NEWEST
        return None if is_newer and self.log.exports else super().negotiate(max_version)


def test_a_check_at_a_point_has_the_earlier_exports_of_the_point() -> None:
    """Its array has been exported, as the point says."""
    result = run(with_exporter(ForgetsNewerVersions), count="again")
    assert (result.code, result.given) == (Code.VERSION_TOO_OLD.value, "an export after one that was released")


class ListsShapesOfLocked(Exporter):
    """The shape of a strided read-only array is a list."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = super().__cuda_array_interface__
        wrong = self.readonly and not self.contiguous
        return {**described, "shape": list(described["shape"])} if wrong else described


def test_a_producer_without_such_imports_is_judged_by_an_array_of_its_own() -> None:
    """A key is told as other invariants tell it."""
    result = run(
        with_exporter(ListsShapesOfLocked), device=Device.SIMULATED, protocol="cai", layout="padded", access="readonly", path="reexport"
    )  # fmt: skip
    assert (result.code, result.given) == (Code.DICTIONARY_MALFORMED.value, "shape")


class BitOfStridedLost(Exporter):
    """Does not say that strided arrays are read-only."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied) & ~(0 if self.view.contiguous else int(DLFlags.READ_ONLY))


class FlagOfWideLost(Exporter):
    """Does not flag copies of 8-byte elements."""

    def flags(self, *, copied: bool) -> int:
        return super().flags(copied=copied and self.dtype.itemsize != 8)


@pytest.mark.parametrize(
    ("exporter", "levels", "given"),
    [
        (BitOfStridedLost, {"access": "readonly", "layout": "padded", "rank": "rank-3"}, "a strided view"),
        (FlagOfWideLost, {"path": "copy", "dtype": "int64", "rank": "rank-1"}, "an array of int64"),
    ],
)
def test_what_the_failure_says_is_not_given_once_more(
    exporter: type[Exporter], levels: dict[str, str], given: str
) -> None:
    """That the array is read-only, or copied."""
    assert run(with_exporter(exporter), **levels).given == given


def test_explicit_strides_in_two_versions_are_one_input() -> None:
    """Where those in the newest version show it as well."""

    class StridesRefused(Importer):
        def cai_strides(self, interface: ArrayInterface, dtype: DType) -> tuple[int, ...]:
            if interface.strides is not None and 0 in interface.shape:
                raise RuntimeError("a null pointer")
            return super().cai_strides(interface, dtype)

    told = [
        run(with_importer(StridesRefused), device=Device.SIMULATED, protocol="cai", form=form).given
        for form in ("strides-told", "dictionary-2-strides-told")
    ]
    assert told == ["an array without elements, explicit strides of a C-contiguous array"] * 2
