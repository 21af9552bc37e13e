"""What a build says, in words: where it is, and why it failed."""

from __future__ import annotations

import pytest

from conformance.images import output

MOUNTS = "--mount=type=cache,target=/run/cache     sh /run/tools/settings sh /run/tools/"
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


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (f"#8 [cell 2/6] RUN {MOUNTS}install torch", "install torch"),
        ('#14 [pycuda 1/1] RUN --mount=type=cache sh /run/tools/settings sh /run/pycuda/build "13"', "build"),
        (f"[4/4] STEP 7/18: RUN {MOUNTS}install cupy", "install cupy"),
        ("#8 0.143 Downloading cupy-cuda13x (66.2MiB)", None),
        ("#8 DONE 2.2s", None),
    ],
)
def test_the_steps_of_a_build_are_recognized(line: str, step: str | None) -> None:
    """Docker's and Podman's lines alike."""
    assert output.step(line) == step


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
    assert output.reason("") == "the engine said nothing"


def test_a_full_disk_is_said_first() -> None:
    """It is the cause of whatever else is said."""
    said = "\n".join(["write x: No space left on device", *(f"line {n}" for n in range(9))])
    assert output.reason(said).startswith("no space left on device\n")
