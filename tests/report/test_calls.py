"""The table of calls: which call takes whose array, and how."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.call_table import INVARIANT
from conformance.checks.native_handover import Gives
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result
from conformance.protocols.clauses import Level
from conformance.reports import calls, check_terminal

from .samples import case, died, failed, plain


def handed(producer: str, call: str, told: str, outcome: Outcome = Outcome.PASS, array: str = "c-order") -> Result:
    """A result of handing an array over as it is."""
    at = case(producer, call.partition(".")[0], invariant=INVARIANT, call=call, array=array)
    return replace(plain(at, outcome), attachments={"gives": told})


def test_a_cell_is_what_the_check_has_seen() -> None:
    """Of the plain array alone."""
    results = [
        handed("numpy", "torch.as_tensor", "shares"),
        handed("numpy", "torch.as_tensor", "copies", array="stepped"),
        handed("numpy", "torch.asarray", "refuses", Outcome.REFUSED),
    ]
    assert calls.calls(results) == {
        "host": {("torch.as_tensor", "numpy"): Gives.SHARES, ("torch.asarray", "numpy"): Gives.REFUSES}
    }


def test_the_reference_is_left_out() -> None:
    """It is no library that anybody hands arrays to."""
    assert (
        calls.calls([handed("reference", "torch.asarray", "shares"), handed("numpy", "reference.as_array", "shares")])
        == {}
    )


def test_what_speaks_against_a_library_is_broken() -> None:
    """Also a process that was lost; what is only observed is as it was seen."""
    at = case("numpy", "torch", invariant=INVARIANT, call="torch.asarray", array="c-order")
    notes = {"gives": "shares"}
    for result, wanted in (
        (failed(at, notes=notes), Gives.WRONG),
        (died(at), Gives.WRONG),
        (failed(at, Side.NEITHER, level=Level.OBSERVED, notes=notes), Gives.SHARES),
        (plain(at, Outcome.INCONCLUSIVE), None),
    ):
        assert calls.calls([result])["host"]["torch.asarray", "numpy"] is wanted


def test_the_table_in_markdown() -> None:
    """Calls down, producers across; what was not tried has no word."""
    results = [handed("numpy", "torch.asarray", "copies"), handed("jax", "jax.numpy.asarray", "shares")]
    assert calls.markdown(results, ["jax", "numpy"]).splitlines() == [
        "| host | jax | numpy |",
        "|---|---|---|",
        "| `torch.asarray` | – | copies |",
        "| `jax.numpy.asarray` | shares | – |",
    ]


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_in_a_terminal(width: int) -> None:
    """No line is longer than the screen."""
    names = ("numpy", "torch", "jax", "cuda_python", "cupy", "pycuda")
    results = [handed(name, "cuda.core.from_cuda_array_interface", "through the host") for name in names]
    stream = io.StringIO()
    check_terminal._calls(check_terminal.Screen(stream, width, colours=False), results, list(names))
    text = stream.getvalue()
    assert "Result of each call for an array object, on host" in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("host") > len(names)


def test_devices_have_tables_of_their_own() -> None:
    """The same call may share on one and copy on the other."""
    one = handed("torch", "numpy.asarray", "shares")
    other = replace(one, case=replace(one.case, device=Device.CUDA), attachments={"gives": "through the host"})
    assert {device: list(table.values()) for device, table in calls.calls([one, other]).items()} == {
        "host": [Gives.SHARES],
        "cuda": [Gives.BY_HOST],
    }
