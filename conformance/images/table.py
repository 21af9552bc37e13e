"""Terminal output of ``images`` and ``clean``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from conformance.console.screen import Screen, many

from .model import Outcome, State

_COLOUR = {State.BUILT: "green", State.PRESENT: "dim", State.MISSING: "yellow", State.FAILED: "red"}


def failed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of cells whose image failed."""
    return [outcome for outcome in outcomes if outcome.state is State.FAILED]


def images(screen: Screen, outcomes: Sequence[Outcome], engine: str) -> None:
    """Print a line for each cell, the reason of each failure, and the totals."""
    width = max((len(outcome.recipe.cell) for outcome in outcomes), default=0) + 2
    screen.line(screen.paint(f"Images of {many(len(outcomes), 'cell')}", "bold") + f" ({engine})")
    for outcome in outcomes:
        _line(screen, outcome, width)
    for outcome in failed(outcomes):
        _reason(screen, outcome)
    counts = Counter(outcome.state.value for outcome in outcomes)
    screen.line(", ".join(f"{count} {state}" for state, count in counts.items()) or "no cells")


def _line(screen: Screen, outcome: Outcome, width: int) -> None:
    seconds = f"  {outcome.seconds:.0f} s" if outcome.seconds else ""
    state = screen.paint(f"{outcome.state.value:<8}", _COLOUR[outcome.state])
    screen.line(f"  {outcome.recipe.cell:<{width}}{state}  {outcome.image or 'its base image is missing'}{seconds}")


def _reason(screen: Screen, outcome: Outcome) -> None:
    screen.line(screen.paint(f"✗ {outcome.recipe.cell}", "red") + (f": see {outcome.log}" if outcome.log else ""))
    for line in outcome.reason.splitlines():
        screen.wrapped(line, "    ")


def cleaned(screen: Screen, removed: Sequence[str], kept: Mapping[str, str], engine: str, *, dry_run: bool) -> None:
    """Print the removed images, the remaining ones with the reasons, and the command that clears the engine's cache."""
    word = "would be removed" if dry_run else "removed"
    for name in removed:
        screen.line(f"  {name} {word}")
    for name, reason in kept.items():
        screen.line(screen.paint(f"✗ {name} was not removed: {reason}", "red"))
    if not removed and not kept:
        screen.line("every image belongs to a lock file")
    prune = "builder prune" if "podman" not in engine else "image prune"
    screen.line(
        screen.paint(
            f"the engine's cache still contains downloads and build stages; `{engine} {prune}` clears it", "dim"
        )
    )
