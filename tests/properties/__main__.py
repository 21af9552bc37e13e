"""Many random exchanges by one seed: ``python -m properties --exchanges 10000``, in the folder ``tests``. Needs no Hypothesis.

Each exchange has a number, and is drawn from the seed and that number alone: ``--only NUMBER`` runs it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random

from conformance.adapters.base import Device

from . import exchanges, judges, points, streams

MOST_SHOWN = 5
"""Accused exchanges that are printed in full."""
MADE = "made"
REFUSED = "refused, as they had to be"
JUDGED = "more, each judged by an invariant of the suite"
COMBINED = "points of the family combination, each with a level of every factor"
ORDERED = "works on several streams in order, and as many out of order with a wait left out"


@dataclass
class Run:
    """What came of the exchanges so far."""

    seed: int
    devices: tuple[Device, ...]
    tried: int = 0
    done: Counter[str] = field(default_factory=Counter)
    accused: list[int] = field(default_factory=list)

    @property
    def command(self) -> str:
        """What runs the same again."""
        return f"python -m properties --seed {self.seed} --device {' '.join(device.value for device in self.devices)}"

    def exchange(self, number: int) -> None:
        """Run all that belongs to a number. It counts once, however much goes wrong with it."""
        self.tried += 1
        wrong = []
        for attempt in self.attempts():
            try:
                attempt(Random(f"{self.seed}/{number}/{attempt.__name__}"))
            except Exception:
                wrong.append(traceback.format_exc())
        if wrong:
            self.accused.append(number)
            if len(self.accused) <= MOST_SHOWN:
                print(f"exchange {number} is accused:", *wrong, f"{self.command} --only {number}", sep="\n", flush=True)

    def attempts(self) -> Iterator[Callable[[Random], None]]:
        """What is tried under each number."""
        yield self.followed
        yield self.judged
        yield self.combined
        if Device.SIMULATED in self.devices:
            yield self.ordered

    def followed(self, chance: Random) -> None:
        """An exchange from the first export to the last release."""
        drawn = exchanges.draw(chance, self.devices)
        with shown(drawn):
            exchanges.follow(drawn)
        self.done[REFUSED if drawn.refusal else MADE] += 1

    def judged(self, chance: Random) -> None:
        """An invariant on an array that no plan has."""
        drawn = judges.draw(chance, self.devices)
        with shown(drawn):
            judges.judge(drawn)
        self.done[JUDGED] += 1

    def combined(self, chance: Random) -> None:
        """A point of the family ``combination`` that no plan has."""
        drawn = points.draw(chance, self.devices)
        with shown(drawn):
            points.judge(drawn)
        self.done[COMBINED] += 1

    def ordered(self, chance: Random) -> None:
        """Work on several streams, and other work with a wait left out."""
        whole = streams.draw(chance)
        gapped = next(filter(None, (streams.draw_gapped(chance) for _ in count())))
        with shown(whole):
            streams.expect_in_order(whole)
        with shown(gapped):
            streams.expect_out_of_order(gapped)
        self.done[ORDERED] += 1

    def verdict(self) -> str:
        """The last line."""
        told = f"{len(self.accused):,} accused" if self.accused else "none accused"
        return f"{self.tried:,} flawless exchanges, seed {self.seed}: {told}"


@contextmanager
def shown(drawn: object) -> Iterator[None]:
    """What was drawn is printed if it is accused."""
    try:
        yield
    except Exception:
        print(f"drawn: {drawn!r}")
        raise


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m properties", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=10_000, metavar="N", help="how many (default: 10000)")
    parser.add_argument("--seed", type=int, help="default: one at random, which is printed")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run this exchange alone")
    parser.add_argument(
        "--device", nargs="+", choices=[device.value for device in Device], default=["host", "simulated"],
        help="where the arrays lie (default: host simulated)",
    )  # fmt: skip
    given = parser.parse_args()
    if given.exchanges < 1:
        parser.error("--exchanges has to be 1 at least: nothing is shown by none")
    for name in given.device:
        if not judges.planned(Device(name)):
            parser.error(f"--device {name}: there is no such device here")
    return given


def main() -> int:
    """0 if nobody was accused."""
    given = options()
    seed = random.SystemRandom().randrange(100_000) if given.seed is None else given.seed
    run = Run(seed, tuple(Device(name) for name in dict.fromkeys(given.device)))
    print(f"{run.command} --exchanges {given.exchanges}", flush=True)
    for number in range(given.exchanges) if given.only is None else (given.only,):
        run.exchange(number)
    for what in (MADE, REFUSED, JUDGED, COMBINED, ORDERED):
        print(f"{run.done[what]:>10,} {what}")
    print(run.verdict())
    return bool(run.accused)


if __name__ == "__main__":
    sys.exit(main())
