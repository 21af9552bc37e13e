"""Why a build failed, from what it said."""

from __future__ import annotations

from conformance.images import output

FAILED = """\
#9 [cell 2/6] RUN sh /run/tools/settings sh /run/tools/install torch
#9 sha256:1111111111111111111111111111111111111111111111111111111111111111
#9 0.112 Using Python 3.12.1 environment at: /opt/cell
#9 0.530   × Failed to download `torch==2.15.0`
#9 0.530   ╰─▶ Hash mismatch for `torch==2.15.0`
#9 ERROR: executor failed running [/bin/sh -c sh /run/tools/settings]: exit code: 1
#10 [pycuda 1/1] RUN build
#10 0.200 something of another step
------
 > [cell 2/6] RUN sh:
------
executor failed running [/bin/sh -c sh /run/tools/settings]: exit code: 1
"""


def test_the_reason_is_what_the_failed_step_said_last() -> None:
    """Neither the engine's frame around it nor what other steps said."""
    assert output.reason(FAILED).splitlines() == [
        "Using Python 3.12.1 environment at: /opt/cell",
        "  × Failed to download `torch==2.15.0`",
        "  ╰─▶ Hash mismatch for `torch==2.15.0`",
    ]


def test_without_a_failed_step_the_last_lines_are_the_reason() -> None:
    """As where the engine goes away."""
    assert output.reason("a\n\nCannot connect to the engine\n").endswith("Cannot connect to the engine")
    assert output.reason("") == "the engine printed nothing"


def test_a_full_disk_is_said_first() -> None:
    """It is the cause of whatever else is said."""
    said = "\n".join(["write x: No space left on device", *(f"line {n}" for n in range(20))])
    assert output.reason(said).startswith("no space left on device\n")
