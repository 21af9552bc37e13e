"""findings.json is as its schema says, and findings read as sentences."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from conformance.checks.codes import Code
from conformance.checks.outcomes import Side
from conformance.findings import document, known
from conformance.findings.causes import findings
from conformance.findings.wording import sentence
from conformance.protocols.clauses import Role

from .samples import seen

SCHEMA = json.loads(resources.files("conformance.findings").joinpath("schemas/findings.schema.json").read_text())
VERSIONS = {"torch": {"torch": "2.11.0"}, "cupy": {"cupy-cuda13x": "14.2.0"}}


def test_what_is_written_is_as_the_schema_says(tmp_path: Path) -> None:
    """A crash, two accused, a known cause, and one that accuses nobody."""
    found = findings(
        [
            seen("p.v/reference-torch/dlpack/host/r", Code.CRASH, given="an array with negative strides", step="import", outcome="crash"),
            seen("p.v/cupy-torch/dlpack/cuda", Code.STALE_READ, Side.BOTH),
            seen("p.v/cupy-torch/cai/cuda", Code.VALUES_CHANGED, Side.UNKNOWN, clause=""),
        ],
        {"": VERSIONS},
        known.book(),
    )  # fmt: skip
    document.write(found, VERSIONS, tmp_path / "findings.json")
    read = json.loads((tmp_path / "findings.json").read_text())
    jsonschema.validate(read, SCHEMA)
    assert any(one["upstream"] and one["upstream"]["advice"] == "fixed in 2.14: upgrade" for one in read["findings"])


def test_a_whole_document_may_have_no_findings(tmp_path: Path) -> None:
    """A clean run writes one, too."""
    document.write([], VERSIONS, tmp_path / "findings.json")
    jsonschema.validate(json.loads((tmp_path / "findings.json").read_text()), SCHEMA)


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("role", Role)
def test_every_code_makes_a_plain_sentence(code: Code, role: Role) -> None:
    """With a subject and an end, without a gap, and never longer than a reader can hold."""
    told = sentence("torch", role, code, "an array with negative strides", "dlpack", "import")
    assert told.startswith("PyTorch ")
    assert told.endswith(".")
    assert "{" not in told
    assert "  " not in told
    assert len(told.split()) <= 30
    assert not re.search(r"\b(who|whom|whose)\b", told)


def test_slugs_are_stable_in_form() -> None:
    """Small letters and dashes: they stand in files, waivers and addresses."""
    for code in Code:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", code.value)
        assert re.fullmatch(r"[a-z][a-z0-9-]*", code.cause)
