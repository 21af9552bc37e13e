"""How clauses, exchanges and reasons are told to people."""

from __future__ import annotations

import pytest

from conformance.console.wording import CLAIMS, INFERRED, core, demand, duty, known, many, way, where
from conformance.protocols.clauses import LIBRARY, UNSIDED, Clause, Role, all_clauses, clause

PRODUCER, CONSUMER = Role.PRODUCER, Role.CONSUMER
CLAUSES = pytest.mark.parametrize("one", all_clauses(), ids=lambda one: one.id)


# -- whom a clause binds


@pytest.mark.parametrize(
    ("id", "told"),
    [
        ("DLP-20", "the producer must"),
        ("DLP-21", "the consumer must, as we infer from the text"),
        ("DLP-29", "the producer should, as we infer from the text"),
        ("DLP-30", "the producer must, the consumer should"),
        ("CAI-15", "the producer may, the consumer should, as we infer from the text"),
        ("CAI-08", "the producer must, as we infer from the text, the rest binds no library"),
        ("CAI-21", "the consumer may, the rest binds the user"),
        ("CAI-27", "binds the user"),
        ("CAI-30", "binds no library"),
        ("LIB-33", "documented by torch"),
    ],
)
def test_a_clause_is_told_with_those_whom_it_binds(id: str, told: str) -> None:
    """And how strongly: what is inferred is told as such, for each half."""
    assert duty(clause(id)) == told


def test_a_document_of_nobody_in_particular_is_the_librarys() -> None:
    """A clause of a library that does not say which."""
    one = clause("LIB-33")
    assert duty(Clause(one.id, one.duties, one.source)) == "documented by the library"


@CLAUSES
def test_every_clause_says_whom_it_binds(one: Clause) -> None:
    """A star never reaches a reader."""
    told = duty(one)
    assert told
    assert "*" not in told
    inferred = sum(one.duties[role.value].inferred for role in Role if role.value in one.duties)
    assert told.count(INFERRED) == inferred


# -- what it demands of one side


def test_of_a_clause_of_two_halves_the_accuseds_is_told() -> None:
    """The other one is about somebody who has done nothing wrong."""
    first, second = demand("DLP-30", PRODUCER), demand("DLP-30", CONSUMER)
    assert first.startswith("DLP-30: `__dlpack__` must accept `stream`, `max_version`, `dl_device` and `copy`")
    assert second.startswith("DLP-30: A consumer should pass the arguments of `__dlpack__` by keyword.")
    assert "consumer" not in first


def test_without_an_accused_side_both_halves_are_told() -> None:
    """Nobody knows which of them was broken."""
    told = demand("DLP-30", None)
    assert told == f"DLP-30: {clause('DLP-30').statement}"
    assert "`__dlpack__` must accept" in told
    assert "A consumer should pass" in told


def test_what_is_inferred_is_told_as_such_at_the_end_of_the_sentence() -> None:
    """No document says it in so many words; the other half of the clause may say what it demands."""
    told = demand("CAI-15", CONSUMER)
    assert told == f"CAI-15: {clause('CAI-15').duties['consumer'].text[:-1]}, as we infer from the text."
    assert told.endswith("should not ignore the mask, as we infer from the text.")
    assert INFERRED not in demand("CAI-15", PRODUCER)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("id", ["CAI-27", "CAI-30"])
def test_a_clause_that_binds_no_library_is_told_to_either_side(id: str, role: Role) -> None:
    """It can be cited for an observation."""
    assert demand(id, role) == f"{id}: {clause(id).statement}"


@pytest.mark.parametrize("role", Role)
def test_a_librarys_own_document_is_told_on_either_side(role: Role) -> None:
    """It binds that library, wherever it stands."""
    assert demand("LIB-33", role) == f"LIB-33: {clause('LIB-33').duties[LIBRARY].text}"


def test_a_clause_of_the_other_side_is_told_whole() -> None:
    """It was cited by mistake, or by another version of the suite: a report has to tell it all the same."""
    assert demand("DLP-20", CONSUMER) == f"DLP-20: {clause('DLP-20').statement}"


@pytest.mark.parametrize("role", [None, *Role])
def test_an_unknown_clause_is_told_by_its_id(role: Role | None) -> None:
    """Results of a newer suite can be read."""
    assert demand("DLP-999", role) == "DLP-999"
    assert known("DLP-999") is None
    assert known("DLP-20") == clause("DLP-20")


@CLAUSES
@pytest.mark.parametrize("role", [None, *Role])
def test_every_clause_is_told_in_a_sentence(one: Clause, role: Role | None) -> None:
    """With its id first and a full stop at the end; an inferred one of a side that it binds says so."""
    told = demand(one.id, role)
    assert told.startswith(f"{one.id}: ")
    assert told.endswith((".", ".)"))
    bound = role is not None and (one.binds(role) or bool(set(UNSIDED) & one.duties.keys()))
    assert (INFERRED in told) is (bound and role is not None and one.duty(role).inferred)


# -- exchanges


@pytest.mark.parametrize(
    ("invariant", "protocol", "told"),
    [
        ("pointer.values", "dlpack", "DLPack"),
        ("pointer.values", "cai", "CUDA Array Interface"),
        ("imports.order", "none", "Imports and contexts"),
        ("claim.torch-from-numpy", "dlpack", CLAIMS),
        ("claim.torch-from-numpy", "none", CLAIMS),
        ("pointer.values", "smoke-signals", "smoke-signals"),
    ],
)
def test_a_way_is_told_by_its_name(invariant: str, protocol: str, told: str) -> None:
    """A claim is about a library's own call, whatever lies below it; a protocol of a newer suite goes by its own name."""
    assert way(invariant, protocol) == told


def test_exchanges_are_put_together_by_way_and_device() -> None:
    """Each library once, chains apart."""
    told = where(
        [
            ("DLPack", "cuda", ("torch", "cupy")),
            ("DLPack", "cuda", ("jax", "cupy")),
            ("DLPack", "cuda", ("torch", "cvcuda", "cupy")),
            ("DLPack", "host", ("torch", "numpy")),
        ]
    )
    assert (
        told
        == "torch, jax → cupy, DLPack on cuda; torch → cvcuda → cupy, DLPack on cuda; torch → numpy, DLPack on host"
    )


def test_numbers_do_not_keep_like_from_like() -> None:
    """Addresses and counts differ from run to run; what comes after a while tells nothing new."""
    assert core("element 3 at 0x7f00ab is 12 bytes off") == core("element 4 at 0x12 is 7 bytes off")
    assert core("too early") != core("too late")
    assert core("x" * 100) == core("x" * 101)


@pytest.mark.parametrize(
    ("count", "several", "told"), [(1, "", "1 case"), (0, "", "0 cases"), (2, "", "2 cases"), (2, "crates", "2 crates")]
)
def test_a_number_has_its_noun(count: int, several: str, told: str) -> None:
    """One is one."""
    assert many(count, "case", several) == told
