"""A mistake of the user's gets one clear sentence and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chekc",), "chekc"),
        (("check", "--family", "pointr"), "did you mean pointer?"),
        (("check", "--between", "numpi"), "did you mean numpy?"),
        (
            ("check", "--between", "numpy", "--case", "pointer.values/numpy-reference/dlpack/host/c-order/float23"),
            "did you mean",
        ),
        (("check", "-n", "0"), "not a number of processes"),
        (("check", "--tier", "huge"), "huge"),
        (("check", "--deadline", "-1"), "more than 0"),
        (("check", "--device", "gpu"), "gpu"),
        (("list", "--family", "nothing"), "no family"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(conformance: Command, arguments: tuple[str, ...], told: str) -> None:
    """No traceback, no usage dump, what was meant."""
    done = conformance(*arguments)
    assert done.code == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_an_output_folder_that_cannot_be_written_is_a_mistake_of_the_users(
    conformance: Command, tmp_path: Path
) -> None:
    """Found before anything runs."""
    (tmp_path / "file").write_text("")
    done = conformance("check", "--between", "numpy", "--out", str(tmp_path / "file" / "results"))
    assert (done.code, done.stderr.startswith("conformance: --out: results cannot be written")) == (2, True)


def test_a_selection_without_a_case_is_not_a_success(conformance: Command) -> None:
    """Green by omission is the worst kind of green."""
    done = conformance("check", "--between", "numpy", "--family", "pointer", "--device", "cuda")
    assert (done.code, "--device cuda" in done.stderr or "nothing to run" in done.stderr) == (2, True)


def test_the_catalogue_is_printed_for_machines(conformance: Command) -> None:
    """Ids, statements, clauses with the side that each is held against, levels and the number of cases here."""
    done = conformance("list", "--between", "numpy", "--json")
    entries = {e["id"]: e for e in json.loads(done.stdout)}
    entry = entries["pointer.same-address"]
    assert entry["statement"].startswith("The consumer's element 0")
    assert entry["duties"]["consumer"][0] == "DLP-43"
    assert "CAI-05" in entry["duties"]["producer"]
    assert entry["clauses"] == [*entry["duties"]["producer"], *entry["duties"]["consumer"]]
    assert (entry["level"], entry["cases"] > 0) == ("must", True)


def test_listed_case_ids_are_those_that_would_run(conformance: Command) -> None:
    """``list --cases`` and ``check`` agree."""
    listed = conformance("list", "--between", "numpy", "--family", "pointer", "--tier", "quick", "--cases")
    run = conformance("check", "--between", "numpy", "--family", "pointer", "--tier", "quick")
    assert listed.stdout.split() == [r["id"] for r in run.plan]
