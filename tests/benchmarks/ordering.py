"""How long an ordering verdict takes by latch and by a kernel that spins 250 ms, side by side: ``python tests/benchmarks/ordering.py``.

Both look at the same hand-overs, one after the other, on a GPU. The spinning kernel is the usual way: hold the producer's
stream for a fixed time, hand over, wait for the consumer's stream, compare.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Tier, catalogue
from conformance.checks.exchange import Exchange, Partners
from conformance.execution import environment
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.ordering.evidence import setting_of
from conformance.ordering.handover import Forward

SPIN_SECONDS = 0.250
ROUNDS = 3


def spin(exchange: Exchange) -> bool:
    """One verdict by a kernel that nobody releases."""
    setting = setting_of(exchange)
    streams, work = setting.streams, Forward(setting)
    streams.synchronize_device()
    latch = streams.hold(work.writer, SPIN_SECONDS)
    work.before()
    work.exchange()
    streams.synchronize(work.reader)
    streams.synchronize_device()
    latch.close()
    return work.in_order()


def lasting(action: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def main() -> int:
    """A line for each pair: medians in milliseconds, and how many times as long the spinning kernel takes."""
    facts = environment.measure()
    bench = Workbench()
    invariant = catalogue()["ordering.handover"]
    cases = [c for c in invariant.cases(facts.environment) if c.device is Device.CUDA and c.tier is Tier.QUICK]
    if not cases:
        print(f"no GPU to measure on: {facts.driver.get('reason')}", file=sys.stderr)
        return 1

    def by_latch(case: Case) -> Result:
        return bench.run(case, invariant)

    ratios = []
    print(f"{'case':<60}{'latch ms':>10}{'spin ms':>10}{'ratio':>8}")
    for case in cases:
        by_latch(case)
        pairs = [
            (lasting(lambda: by_latch(case)), lasting(lambda: spin(Exchange(case, Partners(bench.get)))))  # noqa: B023
            for _ in range(ROUNDS)
        ]
        latch, spun = (statistics.median(column) for column in zip(*pairs))
        ratios.append(spun / latch)
        print(f"{case.id.partition('/')[2]:<60}{latch:>10.2f}{spun:>10.2f}{spun / latch:>8.1f}")
    print(f"median ratio over {len(cases)} pairs: {statistics.median(ratios):.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
