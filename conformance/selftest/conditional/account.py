"""Account of conditional faults: caught faults, missed faults with the reason, and wrong accusations."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import conformance
from conformance.exits import Exit

from .trying import Tried

BAR = 0.95
"""The share of faults on two factors that must be caught. All faults on one factor must be caught."""


@dataclass(frozen=True)
class Account:
    """All faults that were tried. ``seed`` is ``None`` if all faults were tried.

    ``accused`` are failed cases of flawless partners: the id, and the reason. ``lost`` are the reasons why parts were not run. ``left_out`` counts
    the unconditional faults by the rule that excludes them.
    """

    seed: int | None
    tried: tuple[Tried, ...]
    cases: int
    accused: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def shown(self) -> tuple[Tried, ...]:
        """The candidates with a witness. A candidate without one is not a fault."""
        return tuple(one for one in self.tried if one.witness)

    @property
    def missed(self) -> tuple[Tried, ...]:
        """Faults that no case caught."""
        return tuple(one for one in self.shown if one.missed)

    @property
    def wrong(self) -> tuple[Tried, ...]:
        """Faults with a failing case that accuses another library."""
        return tuple(one for one in self.shown if one.wrongly)

    def of(self, factors: int) -> tuple[int, int]:
        """Return the number of caught faults and of all faults with conditions on this number of factors."""
        found = [one for one in self.shown if one.factors == factors]
        return sum(not one.missed for one in found), len(found)

    @property
    def exit(self) -> Exit:
        """``VOID`` if too many faults were missed or an accusation is wrong, ``INCOMPLETE`` if a part was not run."""
        single, singles = self.of(1)
        double, doubles = self.of(2)
        if self.accused or self.wrong or single < singles or double < BAR * doubles:
            return Exit.VOID
        return Exit.INCOMPLETE if self.lost or not self.shown else Exit.OK

    def missing(self) -> list[tuple[str, int]]:
        """Count the missed faults by the factors of their conditions, the most frequent first."""
        return Counter(_factors(one.name) for one in self.missed).most_common()

    def to_json(self) -> dict[str, Any]:
        """Return the account for ``--json``."""
        return {
            "suite": conformance.__version__,
            "seed": self.seed,
            "caught": {str(n): dict(zip(("caught", "of"), self.of(n))) for n in (1, 2)},
            "flawless_cases": self.cases,
            "accused": [{"case": case, "said": said} for case, said in self.accused],
            "faults": [{**asdict(one), "missed": one.missed, "reason": one.reason} for one in self.shown],
            "shows_nowhere": [one.name for one in self.tried if not one.witness],
            "left_out": self.left_out,
            "lost": list(self.lost),
        }


def _factors(name: str) -> str:
    return " × ".join(part.partition("=")[0] for part in name.partition("@")[2].split(","))
