"""Cases of the family ``combination`` for a conditional fault: their parameters alone decide which of them are tried, and in which order."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.repeated_checks import EXCHANGE
from conformance.selftest.conditional.levels import Level
from conformance.selftest.conditional.matching import MOST, best, is_point, levels_of

CAPSULES, DICTIONARIES, BOTH = ("fields",), ("cai_strides", "__cuda_array_interface__"), ("fields", "cai_strides")


def case(protocol: str = "dlpack", device: Device = Device.HOST, **levels: str) -> Case:
    """A case of the family with these levels."""
    return Case(EXCHANGE, "reference", "reference", protocol, device, tuple(levels.items()))


def chosen(cases: list[Case], condition: tuple[Level, ...], methods: tuple[str, ...] = CAPSULES) -> list[Case]:
    """The cases that are tried, in order."""
    return [cases[number] for number in best(list(enumerate(cases)), condition, methods)]


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, {("width", "4"), ("kind", "float"), ("layout", "packed"), ("rank", "2"), ("form", "newest"), ("path", "own")}),
        ({"dtype": "complex64", "rank": "rank-3"}, {("width", "8"), ("kind", "complex"), ("rank", "3")}),
        ({"size": "long", "offset": "offset-far"}, {("size", "long"), ("offset", "some")}),
        ({"form": "version-1.0", "access": "readonly"}, {("form", "1.0"), ("access", "readonly")}),
        ({"path": "view", "count": "again"}, {("path", "view"), ("path", "again")}),
        ({"place": "in-thread-of-fork"}, {("thread", "other"), ("fork", "child")}),
        ({"place": "in-fork"}, {("fork", "child")}),
    ],
)  # fmt: skip
def test_a_case_has_the_levels_of_its_parameters(parameters: dict[str, str], wanted: set[Level]) -> None:
    """Each factor without a parameter has its default."""
    assert wanted <= levels_of(case(**parameters))


def test_a_case_of_this_process_has_no_fork_and_no_thread() -> None:
    """The default place is the main thread."""
    assert not {("thread", "other"), ("fork", "child")} & levels_of(case())


def test_cases_with_more_levels_of_the_condition_come_first() -> None:
    """A case with fewer can reach the rest by a check that it repeats with one more level."""
    neither, one, both = case(rank="rank-3"), case(layout="transposed"), case(dtype="float64", layout="transposed")
    condition = (("width", "8"), ("layout", "transposed"))
    assert chosen([neither, one, both], condition) == [both, one, neither]


def test_of_each_protocol_and_device_only_some_are_tried() -> None:
    """Otherwise every fault would be tried with thousands of cases."""
    many = [case(size="long", offset=f"offset-{n}") for n in range(1, 3 * MOST)]
    simulated = [case(device=Device.SIMULATED, rank="rank-3")]
    found = chosen(many + simulated, (("size", "long"),))
    assert found == [*many[:MOST], *simulated]


def test_a_case_whose_one_level_has_the_whole_condition_is_tried_behind_them() -> None:
    """It reports the failure that a case with several levels leaves to it."""
    many = [case(dtype="int64", layout="stepped", offset=f"offset-{n}") for n in range(1, 2 * MOST)]
    alone = case(layout="stepped")
    assert chosen([*many, alone], (("layout", "stepped"),)) == [*many[:MOST], alone]


def test_a_condition_on_a_fork_takes_only_cases_that_fork() -> None:
    """No other case can reach it."""
    here, there = case(layout="stepped"), case(place="in-fork")
    assert chosen([here, there], (("layout", "stepped"), ("fork", "child"))) == [there]


@pytest.mark.parametrize(
    ("methods", "wanted"),
    [
        (CAPSULES, [("dlpack", Device.HOST), ("dlpack", Device.SIMULATED)]),
        (DICTIONARIES, [("dlpack", Device.HOST), ("cai", Device.SIMULATED)]),
        (BOTH, [("dlpack", Device.HOST), ("dlpack", Device.SIMULATED), ("cai", Device.SIMULATED)]),
    ],
)
def test_the_methods_of_a_fault_decide_the_protocol(methods: tuple[str, ...], wanted: list[tuple[str, Device]]) -> None:
    """Cases of capsules on the host also judge the dictionary that a host array must not have."""
    cases = [case(), case(device=Device.SIMULATED), case("cai", Device.SIMULATED)]
    assert sorted((one.protocol, one.device.value) for one in chosen(cases, (), methods)) == sorted(
        (protocol, device.value) for protocol, device in wanted
    )


@pytest.mark.parametrize(("invariant", "wanted"), [(EXCHANGE, True), ("layout.rank", False)])
def test_only_cases_of_the_family_are_points(invariant: str, wanted: bool) -> None:
    """The other cases are measured."""
    assert is_point(Case(invariant, "reference", "reference", "dlpack", Device.HOST)) is wanted
