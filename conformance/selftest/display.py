"""Terminal output of the self-test: a line for each fault, the problems of the suite, and a summary."""

from __future__ import annotations

from itertools import groupby

from conformance.console.screen import Screen, many

from .account import Account, Row

_MOST = 4
"""The number of invariants that are named beside a fault. The others are counted."""


def show(screen: Screen, account: Account) -> None:
    """Print the invariants that caught each fault, then all problems, then the counts."""
    for stage, rows in groupby(account.rows, key=lambda row: row.stage):
        of_stage = list(rows)
        screen.line(screen.paint(stage, "bold") + screen.paint(f"  {many(len(of_stage), 'deliberate fault')}", "dim"))
        for row in of_stage:
            _show_row(screen, row)
        screen.line()
    _show_left_out(screen, account)
    _show_troubles(screen, account)
    invariants = {name for row in account.rows for name in row.caught}
    escaped, lost = len(account.escaped), sum(row.lost for row in account.rows)
    screen.line(
        f"{many(len(account.rows), 'fault')} on {account.device}: {len(account.rows) - escaped - lost} caught, {escaped} escaped"
        f"{f', {lost} not tried' if lost else ''}; "
        f"{many(len(invariants), 'invariant')} caught a fault, {len(account.toothless)} caught none"
    )
    screen.line(f"{many(len(account.accusations), 'accusation')}: {len(account.wrong)} wrong")
    screen.line(
        f"{many(account.flawless, 'case')} with flawless partners: {len(account.accused)} failed or inconclusive; "
        f"{many(len(account.lost) + len(account.absent), 'part')} not run"
    )


def _show_left_out(screen: Screen, account: Account) -> None:
    for name, why in account.left_out:
        screen.line(screen.paint(f"left out  {name}", "yellow") + f"  {why}; other stages show the same invariants")


def _show_row(screen: Screen, row: Row) -> None:
    symbol = screen.paint("✗", "red") if row.escaped else screen.paint("✓", "green")
    symbol = screen.paint("!", "blue") if row.lost else symbol
    counts = {trial.invariant: f"{trial.invariant} {trial.failed}/{trial.cases}" for trial in row.trials}
    by = [counts[name] for name in row.caught]
    more = f" and {len(by) - _MOST} more" if len(by) > _MOST else ""
    screen.line(f"  {symbol} {row.fault.name:<46} " + screen.paint((", ".join(by[:_MOST]) + more) or "none", "dim"))


def _show_troubles(screen: Screen, account: Account) -> None:
    for row in account.escaped:
        screen.line(screen.paint(f"escaped  {row.fault.name}", "red", "bold") + f"  from {', '.join(row.escaped)}")
        screen.wrapped(row.fault.statement, "    ")
    for stage, case, said in account.accused:
        screen.line(screen.paint(f"accused  {case}", "red", "bold") + f"  with flawless partners, on stage {stage}")
        screen.wrapped(said, "    ")
    for one in account.wrong:
        screen.line(screen.paint(f"wrongly accused  {one.fault}", "red", "bold") + f"  in {one.case}")
        libraries = " and ".join(one.accused) or "none"
        screen.wrapped(f"accused: {libraries} ({one.side}); expected: {one.wanted}; {one.why}", "    ")
    for name in account.toothless:
        screen.line(screen.paint(f"toothless  {name}", "red", "bold") + "  caught no fault")
    for name in account.unpassed:
        screen.line(screen.paint(f"never passed  {name}", "red", "bold") + "  no flawless partner passes it")
    for why, names in groupby((*account.lost, *account.absent), key=lambda part: part[1]):
        parts = [name for name, _ in names]
        more = f" and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
        screen.line(screen.paint(f"not run  {', '.join(parts[:_MOST])}{more}", "yellow", "bold") + f"  {why}")
