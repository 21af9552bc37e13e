"""Handwritten lines of plans and results, with all keys that a reader needs."""

from __future__ import annotations

ACCUSED = {"side": "consumer", "libraries": ["numpy"], "why": "tried with the reference"}


def line(case: str, outcome: str = "pass", verdict: str = "conforms", **more: object) -> dict[str, object]:
    """Return one result."""
    has_failed = verdict in ("violates", "deviates")
    names = ("code", "clause", "role", "given", "step", "reason", "expected", "seen")
    failure = {"code": "values-differ", "clause": "DLP-58", "role": "consumer"} if has_failed else {}
    said: dict[str, object] = {
        "level": "must",
        "attachments": {},
        "attempts": [],
        "accused": ACCUSED if has_failed else None,
        "duration": 0.1,
    }
    return {
        **planned(case),
        "outcome": outcome,
        "verdict": verdict,
        **dict.fromkeys(names, ""),
        **failure,
        **said,
        **more,
    }


def planned(case: str) -> dict[str, object]:
    """Return one line of a plan."""
    invariant, who, protocol, device, *values = case.split("/")
    producer, consumer = who.split("-")
    parameters = {f"value {number}": value for number, value in enumerate(values)}
    where = {
        "producer": producer,
        "consumer": consumer,
        "protocol": protocol,
        "device": device,
        "parameters": parameters,
    }
    return {"id": case, "invariant": invariant, **where, "tier": "full"}
