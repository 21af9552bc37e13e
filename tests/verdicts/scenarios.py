"""The gate's table: two runs, waivers and what is there now, and what the gate has to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from conformance.exits import Exit
from conformance.gate import judgement
from conformance.gate.integrity import Present
from conformance.gate.waivers import Waiver
from conformance.runs.model import RunFile
from conformance.runs.remarks import Judgement, Kind

from .gates import (
    CRASH,
    CRASHES,
    FINDING,
    GPU,
    MESSAGE,
    NUMPYS,
    OTHER,
    PASSES,
    SUITE,
    A,
    B,
    C,
    D,
    candidate,
    cell,
    of_finding,
    own_tests,
    present,
    run,
    waiver,
)

PRESENT = present()


@dataclass(frozen=True)
class Scenario:
    """Two runs, and what the gate has to say: its exit code, the kinds of all remarks but notes, and a part of a sentence."""

    run: RunFile
    baseline: RunFile | None
    exit: Exit
    kinds: tuple[Kind, ...] = ()
    says: str = ""
    waivers: Sequence[Waiver] = ()
    present: Present = PRESENT
    waived: int = 0

    def judged(self) -> Judgement:
        """What the gate says."""
        return judgement.judge(self.run, self.baseline, self.waivers, self.present)


GOOD = run({"one": {A: "c", B: "c", D: "c"}})
BAD = run({"one": {A: "c", B: "v", D: "c"}})
GOOD_ONE = run({"one": {A: "c"}})
GOOD_TWO = run({"one": {A: "c", B: "c"}})
TWO = run({"one": {A: "c", B: "c"}, "two": {A: "c", B: "c"}})
REGRESSED, NEW, WAIVER = Kind.REGRESSION, Kind.NEW_VIOLATION, Kind.WAIVER


def changed(before: str, now: str) -> tuple[RunFile, RunFile]:
    """One case that was the one and is the other."""
    return run({"one": {A: "c", B: now}}), run({"one": {A: "c", B: before}})


def digests(**changes: str | None) -> dict[str, str]:
    """Those of the cell ``one`` with something else or (None) something missing."""
    return {name: text for name, text in {**cell().digests, **changes}.items() if text is not None}


# fmt: off
SCENARIOS = {
    # green
    "a run is its own baseline": Scenario(GOOD, GOOD, Exit.OK),
    "what is as bad as before is told and green": Scenario(BAD, BAD, Exit.OK, (Kind.STILL,), "violates as before"),
    "mended": Scenario(GOOD, BAD, Exit.OK, (Kind.FIXED,), "violates before, conforms now"),
    "better": Scenario(*changed("v", "d"), Exit.OK, (Kind.FIXED,), "which is better"),
    "deviates as before": Scenario(*changed("d", "d"), Exit.OK, (Kind.STILL,)),
    "refused as before": Scenario(*changed("r", "r"), Exit.OK),
    "supported at last": Scenario(*changed("r", "c"), Exit.OK, (Kind.FIXED,)),
    "a new case that conforms": Scenario(
        run({"one": {A: "c", B: "c", C: "c"}}),
        run({"one": {A: "c", B: "c"}}),
        Exit.OK,
        (Kind.NEW_CASE,),
        "1 case (1 conforms)",
    ),
    "a new case that deviates is named": Scenario(
        run({"one": {A: "c", B: "d"}}), run({"one": {A: "c"}}), Exit.OK, (Kind.NEW_CASE,), MESSAGE
    ),
    "a new cell is counted": Scenario(
        run({"one": {A: "c", B: "r"}, "two": {A: "c"}}),
        run({"two": {A: "c"}}),
        Exit.OK,
        (Kind.NEW_CASE,),
        "the baseline has no results of this cell",
    ),
    "unresolvable as before": Scenario(
        run({"one": {A: "c"}, "two": "unresolvable"}),
        run({"one": {A: "c"}, "two": "unresolvable"}),
        Exit.OK,
        (Kind.STILL,),
    ),
    "fails as before, but otherwise": Scenario(*changed("v", "x"), Exit.OK, (Kind.STILL,), "fail before, crash now"),
    "the order of a plan does not matter": Scenario(
        run({"one": {B: "v", A: "c"}}), run({"one": {A: "c", B: "v"}}), Exit.OK, (Kind.STILL,)
    ),
    "all tests beside ours pass": Scenario(
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests()),)), GOOD, Exit.OK
    ),
    # robustness: input that the protocol forbids
    "new robustness without a baseline": Scenario(
        run({"one": {A: "c", B: "b"}}), None, Exit.OK, (Kind.NEW_CASE,), f"a robustness failure, and the baseline has no verdict on it: {MESSAGE}"
    ),
    "a new case of robustness is named": Scenario(
        run({"one": {A: "c", B: "b"}}), GOOD_ONE, Exit.OK, (Kind.NEW_CASE,), MESSAGE
    ),
    "a crash that is robustness is listed": Scenario(
        run({"one": {A: "y", B: "y"}}), None, Exit.OK, (Kind.NEW_CASE,) * 2, MESSAGE
    ),
    "it conformed, and is robustness": Scenario(
        *changed("c", "b"), Exit.REGRESSION, (REGRESSED,), "conforms before, a robustness failure now"
    ),
    "it conformed, and crashes on forbidden input": Scenario(*changed("c", "y"), Exit.REGRESSION, (REGRESSED,)),
    "it was observed, and is robustness": Scenario(*changed("o", "b"), Exit.REGRESSION, (REGRESSED,)),
    "robustness as before": Scenario(*changed("b", "b"), Exit.OK, (Kind.STILL,), "a robustness failure as before"),
    "robustness as before, but a crash": Scenario(*changed("b", "y"), Exit.OK, (Kind.STILL,), "fail before, crash now"),
    "it was robustness, and deviates": Scenario(*changed("b", "d"), Exit.REGRESSION, (REGRESSED,)),
    "it was robustness, and violates": Scenario(*changed("y", "v"), Exit.REGRESSION, (REGRESSED,)),
    "it violated, and is robustness": Scenario(*changed("v", "b"), Exit.OK, (Kind.FIXED,), "which is better"),
    "it deviated, and is robustness": Scenario(*changed("d", "b"), Exit.OK, (Kind.FIXED,), "which is better"),
    "forbidden input is refused at last": Scenario(*changed("b", "r"), Exit.OK, (Kind.FIXED,), "refused now, which is better"),
    "forbidden input was refused": Scenario(*changed("r", "b"), Exit.OK, (Kind.NEW_CASE,)),
    "robustness was not decided": Scenario(*changed("u", "b"), Exit.OK, (Kind.NEW_CASE,)),
    "robustness is not decided": Scenario(*changed("b", "u"), Exit.NOT_TESTED, (Kind.NOT_TESTED,)),
    "a waiver of robustness": Scenario(*changed("c", "b"), Exit.OK, (REGRESSED,), waivers=[waiver()], waived=1),
    # waivers of findings
    "a waiver of a finding covers all its cases in its cells": Scenario(
        run({"one": {A: "v", B: "d", D: "c"}, "two": {A: "v", D: "v"}}), None, Exit.OK, (NEW, Kind.NEW_CASE, NEW, NEW), waivers=[of_finding()], waived=4
    ),
    "a waiver of a finding covers nothing in other cells": Scenario(
        replace(TWO, cells=(BAD.cells[0], replace(BAD.cells[0], name="two", digests={**cell("two").digests}, versions={"suite": "0.1.0", "torch": "2.13.0"})), plans=BAD.plans, evidence=BAD.evidence),
        None, Exit.NEW_VIOLATION, (NEW, NEW), waivers=[of_finding()], waived=1
    ),
    "a waiver of a finding covers no other finding": Scenario(
        run({"one": {A: "v", B: "x"}}), None, Exit.NEW_VIOLATION, (NEW, NEW), waivers=[of_finding()], waived=1
    ),
    "a waiver of a finding that fails as before": Scenario(BAD, BAD, Exit.OK, (Kind.STILL,), waivers=[of_finding()], waived=1),
    "a waiver of findings by a pattern": Scenario(
        run({"one": {A: "v", B: "x"}}), None, Exit.OK, (NEW, NEW), waivers=[of_finding("torch/consumer/*")], waived=2
    ),
    "an expired waiver of a finding": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "expired on 2026-11-21", [of_finding(days=-1)]
    ),
    "a waiver of a finding that no case shows": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), f"no case in its cells shows the finding torch/consumer/dtype-changed/cai; remove it, or name {FINDING}, which they show",
        [of_finding("torch/consumer/dtype-changed/cai")],
    ),
    "a waiver of a finding where nothing is wrong": Scenario(
        GOOD, GOOD, Exit.WAIVER, (WAIVER,), f"shows the finding {FINDING}; remove it", [of_finding()]
    ),
    "a waiver of a finding that was mended": Scenario(
        GOOD, BAD, Exit.WAIVER, (WAIVER, Kind.FIXED), f"expects a failure that no longer happens: 1 case of the finding {FINDING} conforms, and none shows it", [of_finding()]
    ),
    "a waiver of a finding that one of two cells does not show": Scenario(
        run({"one": {B: "v"}, "two": {B: "c"}}), run({"one": {B: "v"}, "two": {B: "c"}}), Exit.WAIVER, (WAIVER, Kind.STILL),
        f"expects a failure that no longer happens: {B} in two; narrow its bounds", [of_finding()], waived=1,
    ),
    "a waiver of a finding that was mended in one of two cells": Scenario(
        run({"one": {A: "c", B: "v"}, "two": {A: "c"}}), run({"one": {A: "c", B: "v"}, "two": {A: "v"}}), Exit.WAIVER, (WAIVER, Kind.STILL, Kind.FIXED),
        f"{A} in two", [of_finding()], waived=1,
    ),
    "a waiver of a finding that fewer cases show": Scenario(
        run({"one": {A: "c", B: "v"}}), run({"one": {A: "v", B: "v"}}), Exit.OK, (Kind.STILL, Kind.FIXED), waivers=[of_finding()], waived=1
    ),
    "a waiver of a finding and of a case that passes": Scenario(
        run({"one": {A: "c", B: "v"}}), run({"one": {A: "v", B: "v"}}), Exit.WAIVER, (WAIVER, WAIVER, Kind.STILL, Kind.FIXED),
        f"{A} in one; narrow", [of_finding(cases=(A, B))], waived=1,
    ),
    "a waiver of some cases of a finding": Scenario(
        run({"one": {A: "v", B: "v"}}), None, Exit.NEW_VIOLATION, (NEW, NEW), waivers=[of_finding(cases=(B,))], waived=1
    ),
    "a waiver of a finding with another outcome": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "only in cases, outcomes or codes that it does not name", [of_finding(outcomes=("crash",))]
    ),
    "a waiver of a finding for cells of another tier": Scenario(
        BAD, BAD, Exit.OK, (Kind.STILL,), "its cells are not in this run", [of_finding(where={"torch": "<2.10"})]
    ),
    "two waivers of one finding": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), f"both cover {B} in one", [of_finding(id="a"), of_finding("torch/*", "b")], waived=1
    ),
    "a waiver of a finding and one of its case": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "both cover", [of_finding(id="a"), waiver("b")], waived=1
    ),
    "a waiver of one of two findings of a case": Scenario(
        run({"one": {A: "v", B: "w"}}), None, Exit.NEW_VIOLATION, (NEW, NEW), waivers=[of_finding()], waived=1
    ),
    "waivers of both findings of a case": Scenario(
        run({"one": {A: "v", B: "w"}}), None, Exit.OK, (NEW, NEW), waivers=[of_finding(id="a"), of_finding(NUMPYS, "b")], waived=2
    ),
    "a waiver of a case with two findings": Scenario(
        run({"one": {A: "c", B: "w"}}), None, Exit.OK, (NEW,), waivers=[waiver()], waived=1
    ),
    "a waiver of a finding covers no refusal": Scenario(
        run({"one": {A: "x", B: "r"}}), run({"one": {A: "x", B: "c"}}), Exit.REGRESSION, (REGRESSED, Kind.STILL), waivers=[of_finding(CRASH)], waived=1
    ),
    # waivers by code
    "a sentence that changes its wording is covered": Scenario(
        run({"one": {A: "c", B: "v"}}, message="it is of another type now"), GOOD_TWO, Exit.OK, (REGRESSED,), "it is of another type now", [waiver()], waived=1
    ),
    "another code is not covered": Scenario(
        run({"one": {A: "c", B: "v"}}, code="values-changed"), GOOD_TWO, Exit.REGRESSION, (REGRESSED, WAIVER), "its cases have other verdicts (1 violates)", [waiver()]
    ),
    "one of several codes": Scenario(
        run({"one": {A: "c", B: "v"}}, code="values-changed"), GOOD_TWO, Exit.OK, (REGRESSED,), waivers=[waiver(codes=("dtype-changed", "values-changed"))], waived=1
    ),
    "a refusal has no code": Scenario(
        *changed("c", "r"), Exit.OK, (REGRESSED,), waivers=[waiver(outcomes=("fail", "refused"))], waived=1
    ),
    # waivers: exit code 20
    "a waiver that covers a regression": Scenario(BAD, GOOD, Exit.OK, (REGRESSED,), waivers=[waiver()], waived=1),
    "a waiver on its last day": Scenario(BAD, GOOD, Exit.OK, (REGRESSED,), waivers=[waiver(days=0)], waived=1),
    "a waiver of a new violation": Scenario(BAD, None, Exit.OK, (NEW,), waivers=[waiver()], waived=1),
    "a waiver of what is refused now": Scenario(
        *changed("c", "r"), Exit.OK, (REGRESSED,), waivers=[waiver(outcomes=("refused",), codes=())], waived=1
    ),
    "an expired waiver of what fails as before": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "expired on 2026-11-21, 1 day ago", [waiver(days=-1)]
    ),
    "a waiver that matches nothing": Scenario(
        BAD,
        BAD,
        Exit.WAIVER,
        (WAIVER, Kind.STILL),
        "its cases have other verdicts (1 violates)",
        [waiver(codes=("something-else",))],
    ),
    "a waiver for cases that are not planned": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "none of its cases in them", [waiver(cases=(C,))]
    ),
    "a waiver for another outcome": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "matches nothing", [waiver(outcomes=("crash",))]
    ),
    "two waivers of the same": Scenario(
        BAD, BAD, Exit.WAIVER, (WAIVER, Kind.STILL), "both cover", [waiver("a"), waiver("b")], waived=1
    ),
    "a waiver of what passes": Scenario(
        GOOD, GOOD, Exit.WAIVER, (WAIVER,), "all of its cases conform (1); remove it", [waiver()]
    ),
    "a waiver of what passes in one of two cells": Scenario(
        run({"one": {B: "v"}, "two": {B: "c"}}),
        run({"one": {B: "v"}, "two": {B: "c"}}),
        Exit.WAIVER,
        (WAIVER, Kind.STILL),
        "narrow its bounds",
        [waiver()],
        waived=1,
    ),
    "a wide waiver of which a part was mended": Scenario(
        run({"one": {A: "c", B: "v"}}),
        run({"one": {A: "v", B: "v"}}),
        Exit.WAIVER,
        (WAIVER, Kind.STILL, Kind.FIXED),
        f"{A} in one",
        [waiver(cases=("dtype.*",))],
        waived=1,
    ),
    "a wide waiver of which a part has always passed": Scenario(
        BAD, BAD, Exit.OK, (Kind.STILL,), waivers=[waiver(cases=("dtype.*",))], waived=1
    ),
    "a waiver of what is observed only, now": Scenario(
        run({"one": {B: "o"}}), run({"one": {B: "v"}}), Exit.WAIVER, (WAIVER, Kind.FIXED), "its cases have other verdicts (1 observed)", [waiver()]
    ),
    "a waiver with a pattern too many": Scenario(
        BAD,
        BAD,
        Exit.WAIVER,
        (WAIVER, Kind.STILL),
        "which covers nothing in this run",
        [waiver(cases=(B, "layout.*"))],
        waived=1,
    ),
    "a waiver for cells of another tier": Scenario(
        BAD, BAD, Exit.OK, (Kind.STILL,), waivers=[waiver(where={"torch": "<2.10"})]
    ),
    "a waiver by the cell's CUDA, not the driver's": Scenario(
        BAD, GOOD, Exit.OK, (REGRESSED,), waivers=[waiver(where={"cuda": "==13.0.*"})], waived=1
    ),
    "a bound on what the cell does not have": Scenario(
        BAD, GOOD, Exit.REGRESSION, (REGRESSED,), waivers=[waiver(where={"cupy": ">=1"})]
    ),
    # tests beside ours: 21
    "a test beside ours fails": Scenario(
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests(failed=1)),)),
        GOOD,
        Exit.OWN_TESTS,
        (Kind.OWN_TESTS,),
        "5 passed, 1 failed",
    ),
    "a test beside ours ends with an error": Scenario(
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests(errors=1)),)),
        GOOD,
        Exit.OWN_TESTS,
        (Kind.OWN_TESTS,),
    ),
    "tests beside ours were killed": Scenario(
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests(ended="killed by SIGSEGV")),)),
        GOOD,
        Exit.OWN_TESTS,
        (Kind.OWN_TESTS,),
        "SIGSEGV",
    ),
    "no test beside ours passed": Scenario(
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests(passed=0, skipped=5)),)),
        GOOD,
        Exit.OWN_TESTS,
        (Kind.OWN_TESTS,),
        "none of the package's own tests passed",
    ),
    "tests beside ours are gone": Scenario(
        GOOD,
        replace(GOOD, cells=(replace(GOOD.cells[0], own_tests=own_tests()),)),
        Exit.OWN_TESTS,
        (Kind.OWN_TESTS,),
        "but not in this run",
    ),
    # violations: 22 and 23
    "without a baseline what violates is new": Scenario(BAD, None, Exit.NEW_VIOLATION, (NEW,)),
    "a new case that violates": Scenario(BAD, run({"one": {A: "c", D: "c"}}), Exit.NEW_VIOLATION, (NEW,)),
    "a new case that crashes": Scenario(
        run({"one": {A: "c", B: "x"}}), run({"one": {A: "c"}}), Exit.NEW_VIOLATION, (NEW,)
    ),
    "supported at last, and wrong": Scenario(*changed("r", "v"), Exit.NEW_VIOLATION, (NEW,)),
    "it was not decided, and violates": Scenario(*changed("u", "v"), Exit.NEW_VIOLATION, (NEW,)),
    "it conformed, and violates": Scenario(BAD, GOOD, Exit.REGRESSION, (REGRESSED,), "conforms before, violates now"),
    "it conformed, and deviates": Scenario(*changed("c", "d"), Exit.REGRESSION, (REGRESSED,)),
    "it deviated, and violates": Scenario(*changed("d", "v"), Exit.REGRESSION, (REGRESSED,)),
    "it was observed, and violates": Scenario(*changed("o", "v"), Exit.REGRESSION, (REGRESSED,)),
    "it was supported, and is refused": Scenario(*changed("c", "r"), Exit.REGRESSION, (REGRESSED,)),
    "it was supported in its way, and is refused": Scenario(*changed("d", "r"), Exit.REGRESSION, (REGRESSED,)),
    "it was broken, and is refused": Scenario(*changed("v", "r"), Exit.OK, (Kind.FIXED,), "violates before, refused now"),
    "a cell was tested, and is unresolvable": Scenario(
        run({"one": {A: "c"}, "two": "unresolvable"}, reason="numpy and torch"),
        run({"one": {A: "c"}, "two": {A: "c"}}),
        Exit.REGRESSION,
        (REGRESSED,),
        "unresolvable: numpy and torch",
    ),
    "an expired waiver covers nothing": Scenario(
        BAD, GOOD, Exit.REGRESSION, (REGRESSED, WAIVER), "expired", [waiver(days=-1)]
    ),
    # what was not planned: 24
    "a cell is gone": Scenario(
        run({"one": {A: "c", B: "c"}}), TWO, Exit.SHRUNK, (Kind.SHRUNK,), "the baseline has this cell"
    ),
    "a case is gone": Scenario(
        run({"one": {A: "c"}}),
        run({"one": {A: "c", B: "c"}}),
        Exit.SHRUNK,
        (Kind.SHRUNK,),
        "the baseline has this case",
    ),
    "an invariant is gone everywhere": Scenario(
        TWO,
        run({name: {A: "c", B: "c", D: "c"} for name in ("one", "two")}),
        Exit.SHRUNK,
        (Kind.SHRUNK,),
        "is no longer planned in any cell of the baseline",
    ),
    "an invariant is gone in one cell": Scenario(
        run({"one": {A: "c"}, "two": {A: "c", D: "c"}}),
        run({"one": {A: "c", D: "c"}, "two": {A: "c", D: "c"}}),
        Exit.SHRUNK,
        (Kind.SHRUNK,),
        "layout.null-strides is no longer planned: 1 case",
    ),
    "a device is gone": Scenario(
        run({"one": {A: "c", D: "c"}}),
        run({"one": {A: "c", D: "c", GPU: "c"}}),
        Exit.SHRUNK,
        (Kind.SHRUNK,),
        "no case is planned on cuda any more",
    ),
    "a library is gone": Scenario(
        run({"one": {"layout.x/numpy-numpy/dlpack/host": "c"}}, absent={"torch": "ImportError: libc"}),
        run({"one": {"layout.x/numpy-numpy/dlpack/host": "c", A: "c", B: "v", D: "c"}}),
        Exit.SHRUNK,
        (Kind.SHRUNK,) * 2,
        "is no longer planned",
    ),
    "a library is gone from one cell": Scenario(
        replace(
            TWO,
            cells=(
                replace(
                    run({"one": {"dtype.exchange/numpy-numpy/dlpack/host": "c"}}).cells[0],
                    plan=2,
                    absent={"torch": "ImportError: libc"},
                ),
                TWO.cells[1],
            ),
            plans=(*TWO.plans, ("dtype.exchange/numpy-numpy/dlpack/host",)),
        ),
        TWO,
        Exit.SHRUNK,
        (Kind.SHRUNK, Kind.NEW_CASE),
        "torch can no longer be used (ImportError: libc): 2 cases",
    ),
    # what was not tested: 25
    "a case is lost": Scenario(*changed("c", "l"), Exit.NOT_TESTED, (Kind.NOT_TESTED,), "lost"),
    "a case is not decided, as before": Scenario(
        *changed("u", "u"), Exit.NOT_TESTED, (Kind.NOT_TESTED,), "not decided"
    ),
    "a waiver covers nothing that is not decided": Scenario(
        *changed("u", "u"), Exit.NOT_TESTED, (Kind.NOT_TESTED, WAIVER), waivers=[waiver(outcomes=("inconclusive",))]
    ),
    "a cell was not run": Scenario(
        run({"one": {A: "c"}, "two": "not run"}),
        run({"one": {A: "c"}, "two": "not run"}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "not run: as it went",
    ),
    "a new cell is unresolvable": Scenario(
        run({"one": {A: "c"}, "two": "unresolvable"}), run({"one": {A: "c"}}), Exit.NOT_TESTED, (Kind.NOT_TESTED,)
    ),
    "a cell was killed half way": Scenario(
        run({"one": {A: "c", B: "l"}}, lifecycle="killed"),
        run({"one": {A: "c", B: "c"}}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "1 of 2 cases without an outcome",
    ),
    "a cell without memory accuses nobody": Scenario(
        run({"one": {A: "v"}, "two": {A: "c"}}, lifecycle="out of memory"),
        run({"one": {A: "c"}, "two": {A: "c"}}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,) * 3,
    ),
    "a candidate that is not in effect was not tested": Scenario(
        run({"one": {A: "v"}, "two": {A: "c"}}, lifecycle="candidate not in effect"), run({"one": {A: "c"}, "two": {A: "c"}}), Exit.NOT_TESTED, (Kind.NOT_TESTED,) * 3, "candidate not in effect"
    ),
    "a cell is done and has no results": Scenario(
        run({"one": {A: "c"}, "two": "done"}),
        run({"one": {A: "c"}}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "it finished without results",
    ),
    "nothing was run": Scenario(run({}), run({}), Exit.NOT_TESTED, (Kind.NOT_TESTED,), "no cell of this run has results"),
    "nothing could be run, as before": Scenario(
        run({"one": "unresolvable"}),
        run({"one": "unresolvable"}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED, Kind.STILL),
        "no cell of this run has results",
    ),
    "a canary that did not sing": Scenario(
        run({"one": {A: "c", CRASHES: "c"}}),
        run({"one": {A: "c", CRASHES: "x"}}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "the canary's expected outcome is crash, its actual outcome is pass",
    ),
    "canaries that end as they were built to": Scenario(
        run({"one": {A: "c", CRASHES: "x", PASSES: "c"}}), run({"one": {A: "c"}}), Exit.OK
    ),
    "what a baseline says whose canary did not sing": Scenario(
        run({"one": {A: "v", CRASHES: "x"}}), run({"one": {A: "v", CRASHES: "c"}}), Exit.NEW_VIOLATION, (NEW,), "its baseline results are ignored"
    ),
    "canaries that are not run any more": Scenario(
        run({"one": {A: "c"}}),
        run({"one": {A: "c", CRASHES: "x", PASSES: "c"}}),
        Exit.SHRUNK,
        (Kind.SHRUNK,),
        "canary.crashes, canary.passes: canaries of the baseline that this run did not plan",
    ),
    "a library that could not be used in a new cell": Scenario(
        run({"one": {A: "c"}}, absent={"cupy": "ImportError: libc", "jax": "not installed"}, holds={"cupy": "cupy"}),
        run({"two": {A: "c"}}),
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED, Kind.SHRUNK, Kind.NEW_CASE),
        "cupy could not be used and was not tested: ImportError: libc",
    ),
    "a library of an axis with another name could not be used": Scenario(
        run({"one": {A: "c"}}, absent={"cuda_python": "ImportError: libc"}, holds={"cuda_python": "cuda_bindings"}),
        None,
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "cuda_python could not be used and was not tested: ImportError: libc",
    ),
    "a library that the baseline was not planned with could not be used": Scenario(
        run({"one": {A: "c"}}, absent={"cupy": "ImportError: libc"}, holds={"cupy": "cupy"}),
        GOOD_ONE,
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "cupy could not be used and was not tested: ImportError: libc",
    ),
    "a library that no axis stands for is not there": Scenario(
        run({"one": {A: "c"}}, absent={"jax": "not installed"}), GOOD_ONE, Exit.OK
    ),
    "a library whose adapter is not to be trusted, which no axis stands for": Scenario(
        run({"one": {A: "c"}}, absent={"stripes": "adapter not to be trusted: it lies", "jax": "not installed"}),
        None,
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "stripes could not be used and was not tested: adapter not to be trusted: it lies",
    ),
    "a library that is installed and cannot be used, which no axis stands for": Scenario(
        run({"one": {A: "c"}}, absent={"cupy": "installed, and cannot be used here: no CUDA driver", "jax": "not installed"}),
        None,
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "cupy could not be used and was not tested: installed, and cannot be used here: no CUDA driver",
    ),
    "only the reference was tested": Scenario(
        run({"one": {"layout.x/reference-reference/dlpack/host": "c"}}),
        None,
        Exit.NOT_TESTED,
        (Kind.NOT_TESTED,),
        "only the reference was tested, with itself: no library was tested",
    ),
    "a library that could not be used before either": Scenario(
        run({"one": {A: "c"}}, absent={"cupy": "ImportError: libc"}, holds={"cupy": "cupy"}),
        run({"one": {A: "c"}}, absent={"cupy": "ImportError: libc"}, holds={"cupy": "cupy"}),
        Exit.OK,
        (Kind.STILL,),
        "as in the baseline, cupy could not be used",
    ),
    "a waiver by the axis that a library is planned by": Scenario(
        run({"one": {B: "v"}}, axes={"nightly_torch": "2.12"}, holds={"torch": "nightly_torch"}, versions={}),
        None,
        Exit.OK,
        (Kind.NEW_VIOLATION,),
        waivers=[waiver()],
        waived=1,
    ),
    "a run that is its own baseline": Scenario(BAD, BAD, Exit.OK, (Kind.STILL,), "the run and its baseline are identical"),
    # stale: 26
    "run with another suite": Scenario(
        GOOD, GOOD, Exit.STALE, (Kind.STALE,), "another suite", present=present(suite_digest=OTHER)
    ),
    "run in parts with two suites": Scenario(
        run({"one": {A: "c"}}, digests=digests(suite=f"{SUITE}+{OTHER}")),
        run({"one": {A: "c"}}),
        Exit.STALE,
        (Kind.STALE,),
        "its parts were run",
    ),
    "another version where there are no digests": Scenario(
        run({"one": {A: "c"}}, digests={}),
        None,
        Exit.STALE,
        (Kind.STALE,),
        "the suite 0.1.0",
        present=present(suite="0.2.0", locks=None),
    ),
    "run from another lock": Scenario(
        GOOD, GOOD, Exit.STALE, (Kind.STALE,), "another lock", present=present(locks={"one": "new"})
    ),
    "run from a lock that is gone": Scenario(
        GOOD, GOOD, Exit.STALE, (Kind.STALE,), "the lock that it was run from no longer exists", present=present(locks={})
    ),
    "run in parts from two locks": Scenario(
        run({"one": {A: "c"}}, digests=digests(lock="a+b")), None, Exit.STALE, (Kind.STALE,), "different locks"
    ),
    # integrity: 27
    "a file is not what was written": Scenario(
        GOOD, GOOD, Exit.INTEGRITY, (Kind.INTEGRITY,), "R was altered", present=present(altered=("R was altered",))
    ),
    "results were changed": Scenario(
        GOOD, GOOD, Exit.INTEGRITY, (Kind.INTEGRITY,), "has changed (now x)", present=present(results={"one": "x"})
    ),
    "results are gone": Scenario(
        GOOD, GOOD, Exit.INTEGRITY, (Kind.INTEGRITY,), "no longer exists", present=present(results={})
    ),
    "it does not say from which lock": Scenario(
        run({"one": {A: "c"}}, digests=digests(lock=None)), None, Exit.INTEGRITY, (Kind.INTEGRITY,), "does not name the lock"
    ),
    "cells of two suites": Scenario(
        replace(TWO, cells=(TWO.cells[0], replace(TWO.cells[1], digests={**TWO.cells[1].digests, "suite": OTHER}))),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY, Kind.STALE),
        "different suites",
    ),
    "cells of two versions of the suite": Scenario(
        replace(TWO, cells=(TWO.cells[0], replace(TWO.cells[1], versions={"suite": "0.0.9"}))),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "0.0.9, 0.1.0",
    ),
    "a cell without the digests of the others": Scenario(
        replace(TWO, cells=(TWO.cells[0], replace(TWO.cells[1], digests={"suite": SUITE, "lock": "two-lock"}))),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "no digest of its results",
    ),
    "one image key, two images": Scenario(
        replace(
            TWO, cells=tuple(replace(c, digests={**c.digests, "image key": "k", "image": c.name}) for c in TWO.cells)
        ),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,) * 2,
        "is not the same in all cells: one, two",
    ),
    "parts with several images, without their key": Scenario(
        run({"one": {A: "c"}}, digests=digests(image="i+k")), None, Exit.INTEGRITY, (Kind.INTEGRITY,), "only one of"
    ),
    "an image without its key": Scenario(
        run({"one": {A: "c"}}, digests=digests(image="i")), None, Exit.INTEGRITY, (Kind.INTEGRITY,), "only one of"
    ),
    "the candidate that is given was run": Scenario(
        run({"one": {A: "c"}}, candidates=candidate("s")),
        run({"one": {A: "c"}}),
        Exit.OK,
        present=present(candidates={"Torch": {"s": "torch-cp312.whl"}}),
    ),
    "one of two files to be released was run": Scenario(
        run({"one": {A: "c"}}, candidates=candidate("s")),
        run({"one": {A: "c"}}),
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "no cell of this run tested torch-cp313.whl (t)",
        present=present(candidates={"torch": {"s": "torch-cp312.whl", "t": "torch-cp313.whl"}}),
    ),
    "another candidate was run": Scenario(
        run({"one": {A: "c"}}, candidates=candidate("s")),
        None,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,) * 2,
        "another torch",
        present=present(candidates={"torch": {"t": "torch.whl"}}),
    ),
    "a cell whose lock alone holds it was run without the candidate": Scenario(
        replace(TWO, cells=(replace(TWO.cells[0], candidates=candidate("s", name="cuda-pathfinder")), TWO.cells[1])),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "the released cuda-pathfinder",
        present=present(
            candidates={"cuda-pathfinder": {"s": "pathfinder.whl"}}, pinned={"two": frozenset({"numpy", "cuda_pathfinder"})}
        ),
    ),
    "a cell was run without the candidate": Scenario(
        replace(TWO, cells=(replace(TWO.cells[0], candidates=candidate("s")), TWO.cells[1])),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "the released torch",
        present=present(candidates={"torch": {"s": "torch.whl"}}),
    ),
    "no cell was run with the candidate": Scenario(
        GOOD,
        GOOD,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "no cell of this run",
        present=present(candidates={"cupy": {"s": "cupy.whl"}}),
    ),
    "two candidates of one name": Scenario(
        replace(
            TWO,
            cells=(
                replace(TWO.cells[0], candidates=candidate("s")),
                replace(TWO.cells[1], candidates=candidate("t", "2.13")),
            ),
        ),
        TWO,
        Exit.INTEGRITY,
        (Kind.INTEGRITY,),
        "2.12.1rc1, 2.13",
    ),
    # the worst counts
    "a regression before a new violation": Scenario(
        run({"one": {A: "v", B: "v"}}), run({"one": {A: "c"}}), Exit.REGRESSION, (REGRESSED, NEW)
    ),
    "a new violation before tests beside ours": Scenario(
        run({"one": {A: "v"}}, own_tests=own_tests(failed=1)), None, Exit.NEW_VIOLATION, (NEW, Kind.OWN_TESTS)
    ),
    "tests beside ours before a waiver": Scenario(
        run({"one": {A: "c", B: "c"}}, own_tests=own_tests(failed=1)),
        GOOD,
        Exit.SHRUNK,
        (Kind.SHRUNK, Kind.OWN_TESTS, WAIVER),
        waivers=[waiver()],
    ),
    "a shrunk plan before a regression": Scenario(
        run({"one": {A: "v"}}), TWO, Exit.SHRUNK, (Kind.SHRUNK, Kind.SHRUNK, REGRESSED)
    ),
    "not tested before a shrunk plan": Scenario(
        run({"one": {A: "l"}}), run({"one": {A: "c", B: "c"}}), Exit.NOT_TESTED, (Kind.NOT_TESTED, Kind.SHRUNK)
    ),
    "stale before not tested": Scenario(
        run({"one": {A: "l"}}),
        run({"one": {A: "c"}}),
        Exit.STALE,
        (Kind.STALE, Kind.NOT_TESTED),
        present=present(suite_digest=OTHER),
    ),
    "integrity before stale": Scenario(
        GOOD, GOOD, Exit.INTEGRITY, (Kind.INTEGRITY, Kind.STALE), present=present(suite_digest=OTHER, results={})
    ),
}
# fmt: on
