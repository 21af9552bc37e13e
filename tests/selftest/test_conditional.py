"""Faults that are wrong only under a condition: how they are generated, drawn by a seed, tried and counted."""

from __future__ import annotations

import gc
import json
import re
import sys
from argparse import Namespace
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Command

from conformance import cli, faults
from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE
from conformance.execution.probe import SIMULATE
from conformance.exits import Exit
from conformance.protocols import capsule, dlpack
from conformance.protocols.dtypes import DTYPES
from conformance.protocols.strided import Strided, packed
from conformance.reference.exporter import NEWEST, Exporter
from conformance.reference.importer import Importer
from conformance.reference.managed import settle
from conformance.reference.memory import HostMemory, simulated
from conformance.selftest.accusations import FAULTY
from conformance.selftest.conditional import command, drawing, levels, reach, subjects, trying, witness
from conformance.selftest.conditional.account import BAR, Account
from conformance.selftest.conditional.generating import conditional
from conformance.selftest.conditional.levels import FACTORS
from conformance.selftest.conditional.points import allowed, point
from conformance.selftest.conditional.subjects import PREFIX
from conformance.selftest.conditional.trying import Candidate, Tried
from conformance.selftest.conditional.unseen import UNSEEN

SAMPLE, FEW, SEED = 500, 100, 16
"""The fixed sample, and the beginning of it that each run of the tests tries."""
FLOOR = 0.93
"""The share of the fixed sample that the suite catches at least. It only ever rises, up to :data:`BAR`."""
STRIDES = "reference.layout.StridesInBytes"


def made(name: str) -> faults.Fault:
    """The conditional fault of this name."""
    candidate = Candidate.named(name)
    return conditional(faults.all_faults()[candidate.fault.removeprefix(PREFIX)], candidate.condition)


def exported(kind: type[Exporter], dtype: str, view: Strided) -> dlpack.Tensor:
    """Return the contents of a capsule of a new array."""
    memory, size = HostMemory(), DTYPES[dtype].itemsize
    array = kind(memory, memory.allocate(256 * size), DTYPES[dtype], view)
    offered = array.__dlpack__(max_version=NEWEST)
    return dlpack.decode(capsule.pointer(offered), capsule.name(offered))


# -- what is generated


@pytest.mark.parametrize(("dtype", "strides"), [("float64", (8, 24)), ("float32", (1, 3))])
def test_an_exporter_is_wrong_where_its_condition_holds(dtype: str, strides: tuple[int, ...]) -> None:
    """The same view of another element type is exported as by the flawless reference."""
    broken = made(f"{STRIDES}@width=8,layout=transposed").exporter
    assert exported(broken, dtype, Strided((3, 4), (1, 3))).strides == strides
    assert exported(broken, dtype, packed((3, 4))).strides == (4, 1)


@pytest.mark.parametrize(("dtype", "calls"), [("int16", 0), ("int32", 1)])
def test_an_importer_is_wrong_where_its_condition_holds(dtype: str, calls: int) -> None:
    """It knows the tensor when it releases it."""
    broken = made("reference.lifetime.NeverReleased@width=2").importer
    memory = HostMemory()
    array = Exporter(memory, memory.allocate(256), DTYPES[dtype], packed((3,)))
    broken(memory).take_dlpack(array).release()
    assert array.log.exports[0].deleter_calls == calls


def test_a_look_at_a_dictionary_does_not_read_it_twice() -> None:
    """The producer would see another consumer than without the condition."""
    broken = made("reference.cai.OwnerForgotten@rank=1").importer
    memory = simulated()
    array = Exporter(memory, memory.allocate(256), DTYPES["int8"], packed((3,)))
    taken = broken(memory).take_cai(array)
    assert (array.log.cai, taken.holder) == (1, None)


def left_behind(importer: Importer) -> float:
    """Blocks of Python's memory for each import. Each struct lies elsewhere, as in a run."""
    kept = []

    def exchange(times: int) -> int:
        for _ in range(times):
            array = Exporter(importer.memory, importer.memory.allocate(48), DTYPES["int32"], packed((3, 4)))
            importer.take_dlpack(array).release()
            kept.append(array.log.exports)
        gc.collect()
        return sys.getallocatedblocks()

    exchange(100)
    return (exchange(50) - exchange(250)) / -250


def test_what_a_conditional_importer_remembers_is_no_leak() -> None:
    """A check for leaks would catch the fault for a reason of the selftest's own."""
    remembering = made("reference.dtype.UnsignedAsSigned@rank=7,width=8").importer(HostMemory())
    assert left_behind(remembering) - left_behind(Importer(HostMemory())) < 0.5


@pytest.mark.parametrize(
    ("path", "lives", "wanted"),
    [("own", True, [True, False]), ("second", True, [False, True]), ("again", True, [False, False]), ("again", False, [False, True])],
)  # fmt: skip
def test_the_path_follows_from_the_history_of_the_array(path: str, lives: bool, wanted: list[bool]) -> None:
    """One of two exports counts strides in bytes: at the second export the first one still lives, or is gone."""
    broken = made(f"{STRIDES}@path={path}").exporter
    memory, view = HostMemory(), packed((3, 4))
    array = broken(memory, memory.allocate(48), DTYPES["float32"], view)
    kept, seen = [], []
    for _ in range(2):
        offered = array.__dlpack__(max_version=NEWEST)
        seen.append(dlpack.decode(capsule.pointer(offered), capsule.name(offered)).strides == (16, 4))
        kept += [offered] if lives else []
        del offered
        settle()
    assert seen == wanted


@pytest.mark.parametrize(("dtype", "strides"), [("float64", (32, 8)), ("float32", (4, 1))])
def test_a_wrapper_around_a_real_library_looks_at_the_opened_capsule(dtype: str, strides: tuple[int, ...]) -> None:
    """The capsule is NumPy's own where the condition does not hold."""
    pytest.importorskip("numpy")
    subject = subjects.known()["numpy-wrappers.ExportsStridesInBytes"]
    partner = subject.partners((("width", "8"), ("rank", "2")))["numpy"]
    array = partner.array(DTYPES[dtype], (3, 4), bytes(12 * DTYPES[dtype].itemsize), Device.HOST)
    offered = partner.exporter(array, Protocol.DLPACK).__dlpack__(max_version=(1, 0))
    assert dlpack.decode(capsule.pointer(offered), capsule.name(offered)).strides == strides


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("numpy-wrappers.ExportsStridesInBytes@width=8,layout=stepped", True),
        ("numpy-wrappers.ExportsStridesInBytes@width=1", False),
        ("numpy-wrappers.NeverReleases@size=empty", False),
        ("numpy-wrappers.NeverReleases@thread=other", True),
        ("numpy-wrappers.IgnoresCopy@path=copy", True),
    ],
)
def test_a_wrapper_shows_where_an_exchange_goes_otherwise_than_with_the_library(name: str, shows: bool) -> None:
    """A wrapper that looks at an import before there is a capsule knows nothing of the array."""
    pytest.importorskip("numpy")
    candidate = Candidate.named(name)
    told, _ = subjects.known()[candidate.fault].witness(candidate.condition)
    assert bool(told) is shows


def test_every_level_has_an_array_and_a_word() -> None:
    """A level that no array has would leave faults out without a reason."""
    assert [(f, level) for f, found in FACTORS.items() for level in found if not allowed(((f, level),))] == []
    assert set(levels.WORDS) == set(FACTORS)


@pytest.mark.parametrize(
    "condition",
    [{"layout": "transposed", "rank": "1"}, {"size": "empty", "rank": "0"}, {"width": "16", "kind": "bool"}],
)
def test_levels_that_exclude_each_other_have_none(condition: dict[str, str]) -> None:
    """So no fault has them as its condition."""
    assert point(condition) is None
    assert not witness.is_possible(tuple(condition.items()))


def test_a_name_leads_back_to_the_fault() -> None:
    """One that was missed can be tried again."""
    candidate = Candidate(STRIDES, (("layout", "transposed"), ("width", "8")))
    assert candidate.name == "reference.layout.StridesInBytes@width=8,layout=transposed"
    assert set(Candidate.named(candidate.name).condition) == set(candidate.condition)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (STRIDES, "has no condition"),
        (f"{STRIDES}@width=3", "width has no level '3'; its levels are 1, 2, 4, 8, 16"),
        ("reference.layout.StridesInByte@width=8", f"did you mean {STRIDES}?"),
        (f"{STRIDES}@ran=1", "there is no factor 'ran'; did you mean rank?"),
    ],
)
def test_an_unknown_name_is_refused(name: str, told: str) -> None:
    """The message has the part that is wrong, and what was meant."""
    with pytest.raises(ValueError, match=re.escape(told)):
        Candidate.named(name)


@pytest.mark.parametrize("fails", [True, False])
def test_a_case_that_a_library_fails_by_itself_shows_no_fault(fails: bool) -> None:
    """A real library breaks some rules. The reference keeps them all, so nothing is asked of it."""
    broken = faults.all_faults()["layout.StridesInBytes"].exporter
    partners = reach.partners(broken if fails else Exporter, Importer)
    subject = SimpleNamespace(flawless=lambda: partners)
    case = Case(
        "pointer.values", FAULTY, "reference", "dlpack", Device.HOST, (("layout", "columns"), ("dtype", "float32"))
    )
    assert trying._fails_anyway(subject, case) is fails  # type: ignore[arg-type]
    assert not subjects.known()[STRIDES].flawless()


# -- what is drawn


def test_a_seed_draws_the_same_faults_and_another_seed_others() -> None:
    """Any machine can draw the misses of a night again."""
    first, again, other = (list(islice(drawing.sampled(2, seed), 50)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 50


def test_every_fault_of_the_reference_has_conditions_or_a_rule_that_leaves_it_out() -> None:
    """None is dropped because it is not caught."""
    known = faults.all_faults()
    assert set(UNSEEN) <= set(known)
    left = {name for name, fault in known.items() if drawing.left_out(fault)}
    assert {name.removeprefix(PREFIX) for name in drawing.chosen()} == set(known) - left
    assert [name for name in drawing.chosen() if not subjects.known()[name].methods] == []


@pytest.mark.parametrize(
    "name", ["dtype.LanesIgnored", "negotiation.MinusOneRefused", "state.PendingIgnored", "cai.MaskDropped"]
)
def test_a_fault_that_a_rule_leaves_out_shows_in_no_exchange_of_one_array(name: str) -> None:
    """At no array of the space, not only at a plain one."""
    assert witness.of(conditional(faults.all_faults()[name], ())) is None


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("reference.layout.StridesInBytes@width=8,layout=transposed", True),
        ("reference.layout.StridesInBytes@width=1", False),
        ("reference.readonly.ReadOnlyUnsaid@access=writable", False),
        ("reference.readonly.ReadOnlyUnsaid@kind=complex,path=view", True),
        ("reference.lifetime.NeverReleased@size=empty,thread=other", True),
        ("reference.pointer.CopyNotMade@path=own", False),
        ("reference.layout.StridesUnsigned@layout=packed", False),
    ],
)
def test_a_witness_is_a_point_at_which_the_exchange_goes_otherwise(name: str, shows: bool) -> None:
    """It knows nothing of the suite's checks."""
    assert (witness.of(made(name), Candidate.named(name).condition) is not None) is shows


# -- what is counted

_CAUGHT = Tried("a@width=1", "It is wrong.", 1, "somewhere", "layout.rank/x", "wrong")
_MISSED = Tried("b@width=1,rank=2", "It is wrong.", 2, "float32 of shape (3, 4)", reached=3)


def account(*tried: Tried, lost: tuple[str, ...] = (), accused: tuple[tuple[str, str], ...] = ()) -> Account:
    """Return the account of these trials."""
    return Account(1, tried, 10, accused, lost, {})


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (account(_CAUGHT), Exit.OK),
        (account(_CAUGHT, _MISSED), Exit.VOID),
        (account(_CAUGHT, replace(_MISSED, witness="")), Exit.OK),
        (account(*(replace(_CAUGHT, factors=2),) * 19, _MISSED), Exit.OK),
        (account(*(replace(_CAUGHT, factors=2),) * 18, _MISSED), Exit.VOID),
        (account(replace(_MISSED, factors=1)), Exit.VOID),
        (account(replace(_CAUGHT, wrongly="reference")), Exit.VOID),
        (account(_CAUGHT, accused=(("case", "why"),)), Exit.VOID),
        (account(_CAUGHT, lost=("stopped",)), Exit.INCOMPLETE),
        (account(), Exit.INCOMPLETE),
    ],
)
def test_the_exit_code_says_whether_enough_is_caught(found: Account, code: Exit) -> None:
    """All on one factor, 95 of 100 on two; no accusation is wrong; everything was run."""
    assert BAR == 0.95
    assert found.exit is code


def test_a_miss_is_explained() -> None:
    """By where it shows, and by whether any case gets there."""
    assert (
        _MISSED.reason == "none of the 3 cases that reach the condition notices; it shows with float32 of shape (3, 4)"
    )
    assert "no case reaches the condition" in replace(_MISSED, reached=0).reason
    assert _CAUGHT.reason == ""


# -- the command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--conditional", "0"), "--conditional: '0' is not a number of faults"),
        (("--seed", "1"), "--seed chooses the faults of --conditional N"),
        (("--conditional", "2", "--all-conditional"), "leave --conditional out"),
        (("--conditional", "2", "--device", "cuda"), "leave --device out"),
        (("--all-conditional", "--part", "9/8"), "--part: '9/8' is not a part; give a part such as 1/8"),
        (("--all-conditional", "--part", "0/8"), "--part: '0/8' is not a part"),
        (("--conditional", "2", "--part", "1/8"), "--part divides the faults of --all-conditional"),
        (
            ("--all-conditional", "--part", "1/8", f"{STRIDES}@width=8"),
            "leave reference.layout.StridesInBytes@width=8 or",
        ),
        (("--conditional", "2", "--page", "x.md"), "--page is about faults without a condition"),
        (("--conditional", "2", "layout"), "only the name of a stage is allowed: reference,"),
        (
            ("--all-conditional", "reference.layout.StridesInBytes@width=3"),
            "an example of a name is reference.layout.StridesInBytes@",
        ),
    ],
)
def test_a_mistake_is_one_sentence(arguments: tuple[str, ...], told: str, conformance: Command) -> None:
    """And exit code 2."""
    done = conformance("selftest", *arguments)
    assert (done.code, told in done.stderr) == (Exit.USAGE, True), done.stderr


def test_the_parts_together_are_all_faults() -> None:
    """Each fault is in one part, so several machines can share the faults."""
    every = {count: list(islice(drawing.every(count), 60)) for count in (1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "every", lambda count, stage: iter(every[count]))
        for index, count in enumerate(every):
            found = [
                candidate
                for number in (1, 2, 3)
                for candidate in command.streams(Namespace(wanted=[], part=(number, 3)), None, "reference")[index][0]
            ]
            assert sorted(found, key=lambda one: one.name) == sorted(every[count], key=lambda one: one.name)


NAMED = (
    "reference.pointer.OffsetDropped@width=4,offset=some",
    "reference.pointer.OffsetDropped@offset=some,fork=child",
)
"""The second one shows in a fork: the case that forks is tried, though its child adds nothing to the notes."""


@pytest.mark.again
def test_one_is_repeated_by_its_name(conformance: Command) -> None:
    """Also one with a fork."""
    done = conformance("selftest", "--all-conditional", *NAMED)
    assert done.code == Exit.OK, done.stdout[-3000:]
    assert "conditions on two factors: 2 of 2 faults caught, 100.0 %" in done.stdout
    assert "0 accused; 0 wrong accusations; 0 parts not run" in done.stdout


def test_a_name_on_the_command_line_is_the_candidate_to_try() -> None:
    """All of them, and no other."""
    ((candidates, wanted),) = command.streams(Namespace(wanted=list(NAMED), part=None), None, REFERENCE)
    assert ([candidate.name for candidate in candidates], wanted) == (
        [Candidate.named(name).name for name in NAMED],
        None,
    )


@pytest.mark.again
@pytest.mark.seconds(200)
def test_a_fixed_sample_is_caught_without_a_wrong_accusation(conformance: Command, tmp_path: Path) -> None:
    """The nightly sample is larger, and another one each night."""
    written = tmp_path / "all.json"
    done = conformance("selftest", "--conditional", str(SAMPLE), "--seed", str(SEED), "--json", str(written))
    assert_that_the_sample_is_caught(json.loads(written.read_text()), done.stdout, SAMPLE)


@pytest.mark.seconds(80)
def test_the_first_of_the_fixed_sample_and_two_by_name_are_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One run, in this process: what the cases of flawless partners reach is found out once for the sample and for the names."""
    monkeypatch.setenv(SIMULATE, "1")
    streams = command.streams
    named = [Candidate.named(name) for name in NAMED]
    monkeypatch.setattr(command, "streams", lambda *asked: [(iter(named), None), *streams(*asked)])
    written = tmp_path / "all.json"
    options = cli.parser("selftest").parse_args(
        ["selftest", "--conditional", str(FEW), "--seed", str(SEED), "--json", str(written), "-n", "2"]
    )
    options.run(options)
    told = json.loads(written.read_text())
    by_name = [one for one in told["faults"] if one["name"] in {candidate.name for candidate in named}]
    assert [one["missed"] for one in by_name] == [False, False]
    assert_that_the_sample_is_caught(told, capsys.readouterr().out, FEW + len(NAMED))


def assert_that_the_sample_is_caught(told: dict[str, Any], shown: str, size: int) -> None:
    """As many as :data:`FLOOR` says; those that are missed have a reason."""
    assert shown.startswith(f"seed {SEED}\n")
    assert (told["accused"], told["lost"], [one["name"] for one in told["faults"] if one["wrongly"]]) == ([], [], [])
    assert told["caught"]["2"]["of"] == size
    assert told["caught"]["2"]["caught"] >= FLOOR * size, shown[-3000:]
    assert all(one["reason"] for one in told["faults"] if one["missed"])
