"""known.yaml: read without a YAML library, and every mistake told with its line."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import pytest
import yaml

from conformance.adapters import registry
from conformance.adapters.jax import DONATE
from conformance.adapters.torch_changes import CHANGES
from conformance.checks.codes import Code
from conformance.checks.export_outcomes import REFUSED_STATE
from conformance.checks.outcomes import Side
from conformance.findings import known
from conformance.findings.causes import findings
from conformance.findings.known import BadKnown, Book, parsed
from conformance.findings.model import Known, Status, Upstream

from .samples import seen

TEXT = resources.files("conformance.findings").joinpath("known.yaml").read_text(encoding="utf-8")
TORCH_CHANGES = {change.name: change for change in CHANGES}
SCHEMA = json.loads(resources.files("conformance.findings").joinpath("schemas/known.schema.json").read_text())


def test_our_reader_reads_what_a_yaml_library_reads() -> None:
    """Entry by entry and field by field."""
    entries = known.book().entries
    for ours, theirs in zip(entries, yaml.safe_load(TEXT), strict=True):
        fields = {name: getattr(ours, name) for name in known._FIELDS if name != "upstream" and getattr(ours, name)}
        assert {**fields, "upstream": ours.upstream.value} == theirs


def test_the_file_is_as_its_schema_says() -> None:
    """A second reader can rely on it."""
    jsonschema.validate(yaml.safe_load(TEXT), SCHEMA)


def test_every_distribution_is_one_of_the_accused_library() -> None:
    """Otherwise no version of it is ever found, and the fix is never told."""
    for entry in known.book().entries:
        library = entry.finding.partition("/")[0]
        assert entry.distribution in ("", *registry.create(library).distributions)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- finding: a/b\n  upstream: open\n  reference: r\n", "1: the entry has no note"),
        ("- finding: a/b\n  upstream: closed\n  reference: r\n  note: n\n", "1: upstream must be one of open"),
        ("- finding: a/b\n  upstream: fixed\n  reference: r\n  note: n\n", "1: `upstream: fixed` needs fixed_in"),
        ("- finding: a/b\n  upstream: open\n  colour: red\n  reference: r\n  note: n\n", "3: colour is unknown"),
        ("- finding: [a, b]\n nothing\n", "2: write `- key: text`"),
        ('- finding: "a\n', "1: the double-quoted text has no end"),
        ("  finding: a\n", "1: finding is unknown, duplicated, or outside an entry"),
        (
            "- finding: a/b\n  upstream: fixed\n  reference: r\n  note: n\n  fixed_in: soon\n",
            "1: fixed_in is soon; write a version",
        ),
        (
            2 * "- finding: a/b\n  upstream: open\n  reference: r\n  note: n\n",
            "5: a/b is also the entry of line 1",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    """In a sentence, without a traceback."""
    with pytest.raises(BadKnown) as raised:
        parsed(text)
    assert told in str(raised.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Each on a line of its own."""
    with pytest.raises(BadKnown) as raised:
        parsed("- finding: a\n  colour: red\n\n- finding: b\n  shape: round\n")
    assert len(str(raised.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("upstream", "version", "status"),
    [
        (Upstream.UNREPORTED, "1.0", Status.NEW),
        (Upstream.OPEN, "1.0", Status.KNOWN),
        (Upstream.INTENDED, "1.0", Status.INTENDED),
        (Upstream.FIXED, "1.9.9", Status.FIXED),
        (Upstream.FIXED, "1.10", Status.NEW),
        (Upstream.FIXED, "1.10.0", Status.NEW),
        (Upstream.FIXED, "1.10.1+cpu", Status.NEW),
        (Upstream.FIXED, "2.0", Status.NEW),
    ],
)
def test_what_an_entry_means_depends_on_the_version(upstream: Upstream, version: str, status: Status) -> None:
    """Numbers are compared as numbers: 1.9 is older than 1.10."""
    for fixed_in in ("1.10", "1.10.0"):
        entry = Known("a/*", upstream, "r", "n", fixed_in)
        assert Book((entry,)).status(entry, [{"a": version}]) is status


def test_a_library_of_unknown_version_is_not_said_to_be_fixed() -> None:
    """Nobody is sent to upgrade by a guess."""
    entry = Known("a/*", Upstream.FIXED, "r", "n", "1.10")
    assert Book((entry,)).status(entry, [{}]) is Status.NEW


def test_an_entry_may_name_the_distribution_that_the_fix_is_in() -> None:
    """A library may come as several."""
    entry = Known("a/*", Upstream.FIXED, "r", "n", "2.0", "a-core")
    assert Book((entry,)).status(entry, [{"a-bindings": "13.0", "a-core": "1.0"}]) is Status.FIXED


@pytest.mark.parametrize(
    ("case", "code", "side", "given"),
    [
        ("source.export-kept/torch-reference/dlpack/host/set", Code.MEMORY_TAKEN_AWAY, Side.PRODUCER, TORCH_CHANGES["set"].given),
        ("source.export-kept/torch-numpy/dlpack/host/data", Code.MEMORY_TAKEN_AWAY, Side.PRODUCER, TORCH_CHANGES["data"].given),
        ("source.copy-reused/numpy-jax/dlpack/host/donate/true", Code.PRODUCER_OVERWRITTEN, Side.CONSUMER, DONATE.given),
        ("native.states/torch-cuda_python/dlpack/host/x/conjugate", Code.UNRESOLVED_ELEMENTS, Side.CONSUMER, "a tensor in the state conjugate"),
        ("native.states/torch-cuda_python/dlpack/host/x/graph-node", Code.NOT_REFUSED, Side.CONSUMER, "a tensor in the state graph-node"),
        ("native.states/torch-cuda_python/dlpack/host/x/blocked", Code.VALUES_CHANGED, Side.CONSUMER, "a tensor in the state blocked"),
        ("native.states/torch-cuda_python/dlpack/host/x/masked", Code.NULL_ADDRESS, Side.CONSUMER, "a tensor in the state masked"),
        ("native.states/torch-cuda_python/dlpack/cuda/x/masked", Code.MASK_DROPPED, Side.CONSUMER, "a tensor in the state masked"),
        ("native.states/torch-cuda_python/dlpack/host/x/sparse-coo", Code.WRONG_EXCEPTION, Side.CONSUMER, REFUSED_STATE),
    ],
)  # fmt: skip
def test_what_the_suite_has_found_has_an_entry(case: str, code: Code, side: Side, given: str) -> None:
    """By the ids that the suite makes, and beside what a public tracker says."""
    (finding,) = findings([seen(case, code, side, given=given)], {}, known.book())
    assert finding.known is not None, finding.id
    assert finding.known.upstream is Upstream.UNREPORTED
