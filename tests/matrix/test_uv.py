"""What uv is asked, in which surroundings, and what its answers mean."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.matrix import uv

DAY = date(2026, 1, 10)


def test_the_command_asks_for_one_python_on_linux_by_metadata_alone_as_of_a_day() -> None:
    """Wheels alone, hashes, no addresses, and never offline."""
    command = uv.compile_command("uv", "3.12", DAY)
    joined = " ".join(command)
    assert command[:4] == ("uv", "pip", "compile", "-")
    assert "--python-version 3.12 --python-platform x86_64-manylinux_2_28" in joined
    assert "--only-binary :all:" in joined
    assert "--exclude-newer 2026-01-10T00:00:00Z" in joined
    assert "--generate-hashes" in command
    assert not {"--offline", "--no-binary", "--constraints", "--emit-index-url"} & {*command}


def test_what_has_no_wheels_may_be_source() -> None:
    """And only that."""
    command = uv.compile_command("uv", "3.12", DAY, ("pycuda",))
    assert command[command.index("--no-binary") + 1] == "pycuda"
    assert "--only-binary" in command


def test_the_second_command_holds_the_versions() -> None:
    """The suite may add, not move."""
    command = uv.compile_command("uv", "3.12", DAY, constraints=Path("c.txt"))
    assert command[command.index("--constraints") + 1] == "c.txt"


def test_only_settings_that_reach_an_index_are_passed_on() -> None:
    """What would change the answer is not."""
    kept = {"UV_DEFAULT_INDEX": "x", "UV_INDEX_URL": "x", "UV_CACHE_DIR": "x", "SSL_CERT_FILE": "x", "HTTPS_PROXY": "x"}
    dropped = {"UV_OFFLINE": "1", "UV_PRERELEASE": "allow", "UV_EXCLUDE_NEWER": "2020-01-01", "UV_CONSTRAINT": "c"}
    assert uv.environment({**kept, **dropped}) == kept


def test_a_command_is_shown_as_it_would_be_typed() -> None:
    """Quoted for a shell."""
    assert uv.shown(("uv", "-"), ("a==1.*", "b")) == "printf '%s\\n' 'a==1.*' b | uv -"


NO_SOLUTION = """warning: something else
error: No solution found when resolving dependencies
  cause: Because a depends on b<2 and c depends on b>=2, we can conclude that a and c are incompatible.
         And because you require a and c, we can conclude that your requirements are unsatisfiable.
"""
OLD_NO_SOLUTION = """  × No solution found when resolving dependencies:
  ╰─▶ Because a depends on b<2 and c depends on b>=2, we can conclude that a
      and c are incompatible.
"""


@pytest.mark.parametrize("text", [NO_SOLUTION, OLD_NO_SOLUTION])
def test_no_solution_is_an_outcome_in_the_resolvers_words(text: str) -> None:
    """In one line, without its decoration."""
    told = uv.verdict(1, text)
    assert told is not None
    assert told.startswith(
        "Because a depends on b<2 and c depends on b>=2, we can conclude that a and c are incompatible."
    )
    assert "\n" not in told


def test_a_solution_with_warnings_of_no_account_is_one() -> None:
    """As that about a Python that is not here."""
    assert uv.verdict(0, "warning: The requested Python version 3.10 is not available") is None


@pytest.mark.parametrize(
    "text",
    [
        "error: Request failed after 3 retries\n  cause: Failed to fetch: http://x/\n  cause: Connection refused",
        "error: No solution found when resolving dependencies\n  cause: Because a was not found in the package registry",
        "error: No solution found when resolving dependencies\n  cause: a, because the network was disabled",
        "error: unexpected argument '--colour' found",
        "",
    ],
)
def test_everything_else_is_no_outcome(text: str) -> None:
    """uv could not find out, and says why."""
    with pytest.raises(UserError, match=r"uv could not resolve \(.+\); the lock files so far are kept"):
        uv.verdict(2, text)
