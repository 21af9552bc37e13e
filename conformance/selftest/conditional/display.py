"""Terminal output for conditional faults: misses with their reasons, wrong accusations, and the shares."""

from __future__ import annotations

from conformance.console.screen import Screen, many

from .account import Account

_MOST = 60
"""The number of missed faults that are printed. The others are counted, and ``--json`` writes all of them."""


def show(screen: Screen, account: Account) -> None:
    """Print everything that is wrong, then the shares."""
    for case, said in account.accused:
        screen.line(screen.paint(f"accused  {case}", "red", "bold") + "  without fault")
        screen.wrapped(said, "    ")
    for one in account.wrong:
        screen.line(screen.paint(f"wrongly accused  {one.wrongly}", "red", "bold") + f"  in {one.caught_by}")
        screen.wrapped(f"{one.name}: {one.statement}", "    ")
    missed = account.missed
    for one in missed[:_MOST]:
        screen.line(screen.paint(f"missed  {one.name}", "red", "bold"))
        screen.wrapped(f"{one.statement} Missed: {one.reason}.", "    ")
    if len(missed) > _MOST:
        screen.line(f"and {len(missed) - _MOST} more faults were missed; --json FILE writes all of them")
    for factors, count in account.missing()[:10]:
        screen.line(f"{many(count, 'fault')} missed with a condition on {factors}")
    for why in account.lost:
        screen.line(screen.paint("not run", "yellow", "bold") + f"  {why}")
    for count, word in ((1, "one factor"), (2, "two factors")):
        caught, of = account.of(count)
        share = f"{100 * caught / of:.1f} %" if of else "none tried"
        screen.line(f"conditions on {word}: {caught} of {many(of, 'fault')} caught, {share}")
    slowest = sorted(one.seconds for one in account.shown)
    if slowest:
        mean = 1000 * sum(slowest) / len(slowest)
        screen.line(
            f"{mean:.0f} ms per fault on average; {len(account.tried) - len(account.shown)} candidates show nowhere"
        )
    screen.line(
        f"{many(account.cases, 'case')} with flawless partners: {len(account.accused)} accused; "
        f"{many(len(account.wrong), 'wrong accusation')}; {many(len(account.lost), 'part')} not run"
    )
