"""waivers.yaml is read for what it says, and every mistake in it is told at once, with its line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from conformance.exits import UserError
from conformance.gate import waiver_file
from conformance.gate.waivers import Waiver

from .gates import TODAY, B, cell

GOOD = f"""\
waivers:
- id: torch-bool
  owner: somebody
  reason: bool is taken for int8 until 2.13
  link: https://example.org/issues/1
  opened: 2026-11-01
  expires: 2027-01-30
  where:
    torch: ">=2.10,<2.13"
    cuda: "13"
  cases:
  - {B}
  - dtype.exchange/torch-*/dlpack/[cuda]*
  outcome: fail
  code: dtype-changed
"""
OF_FINDING = """\
waivers:
- id: torch-bool
  owner: somebody
  reason: bool is taken for int8 until 2.13
  link: https://example.org/issues/1
  opened: 2026-11-01
  expires: 2027-01-30
  where: {torch: ">=2.10,<2.13"}
  finding: torch/consumer/dtype-changed/dlpack/bool
"""
INVARIANTS = ("dtype.exchange", "layout.null-strides")
Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A file with a text."""

    def write(text: str) -> Path:
        path = tmp_path / "waivers.yaml"
        path.write_text(text)
        return path

    return write


def read(path: Path) -> tuple[Waiver, ...]:
    """On the day of these tests."""
    return waiver_file.read(path, INVARIANTS, TODAY)


def test_a_waiver_says_who_why_where_and_until_when(written: Written) -> None:
    """Every key is taken."""
    (found,) = read(written(GOOD))
    assert (found.id, found.owner, found.line) == ("torch-bool", "somebody", 2)
    assert (found.opened, found.expires) == (date(2026, 11, 1), date(2027, 1, 30))
    assert found.where == (("torch", SpecifierSet(">=2.10,<2.13")), ("cuda", SpecifierSet("==13.*")))
    assert found.cases == (B, "dtype.exchange/torch-*/dlpack/[cuda]*")
    assert (found.outcomes, found.codes, found.finding) == (("fail",), ("dtype-changed",), "")


def test_a_waiver_may_name_a_finding_alone(written: Written) -> None:
    """Then it is for all its cases, however they end."""
    (found,) = read(written(OF_FINDING))
    assert (found.finding, found.cases, found.outcomes, found.codes) == (
        "torch/consumer/dtype-changed/dlpack/bool",
        (),
        (),
        (),
    )


def test_a_finding_may_be_narrowed_and_be_a_pattern(written: Written) -> None:
    """By cases, outcome and code, each alone."""
    for more, names in (
        (f"  cases: {B}\n", ((B,), (), ())),
        ("  outcome: [fail, crash]\n", ((), ("fail", "crash"), ())),
        ("  code: [dtype-changed, crash]\n", ((), (), ("dtype-changed", "crash"))),
    ):
        (found,) = read(written(OF_FINDING.replace("dlpack/bool", "dlpack/*") + more))
        assert found.finding == "torch/consumer/dtype-changed/dlpack/*"
        assert (found.cases, found.outcomes, found.codes) == names


def test_a_refusal_needs_no_code(written: Written) -> None:
    """It has none."""
    (found,) = read(written(GOOD.replace("outcome: fail\n  code: dtype-changed", "outcome: refused")))
    assert (found.outcomes, found.codes) == (("refused",), ())


def test_several_outcomes_may_be_named(written: Written) -> None:
    """As a list."""
    (found,) = read(written(GOOD.replace("outcome: fail", "outcome: [fail, crash, hang, poisoned, refused]")))
    assert found.outcomes == ("fail", "crash", "hang", "poisoned", "refused")


def test_a_file_may_have_no_waivers(written: Written) -> None:
    """An empty list, not an empty file."""
    assert read(written("waivers: []\n")) == ()


@pytest.mark.parametrize(
    ("bound", "version", "within"),
    [
        ("13", "13.2", True),
        ("13", "12.9", False),
        ("2.1", "2.10.0", False),
        ("2.10", "2.10.3+cu130", True),
        (">=2.10,<2.13", "2.12.1+cu130", True),
        (">=2.10,<2.13", "2.13.0", False),
        (">=2.10,<2.13", "2.13.0rc1", False),
        (">=2.10,<=2.13.0rc1", "2.13.0rc1", True),
        (">=2.10", "no version", False),
        (">=2.10", "", False),
    ],
)
def test_a_bound_is_a_specifier_and_a_bare_version_is_what_begins_with_it(
    written: Written, bound: str, version: str, within: bool
) -> None:
    """Candidates count; what the cell does not have is within no bound."""
    text = GOOD.replace('    torch: ">=2.10,<2.13"\n    cuda: "13"\n', f'    torch: "{bound}"\n')
    (found,) = read(written(text))
    assert found.is_for(cell(versions={"torch": version}, axes={})) is within


MISTAKES = {
    "unknown key": ("  owner:", "  ower:", 3, "a waiver has no key ower; did you mean owner?"),
    "missing key": ("  owner: somebody\n", "", 2, "a waiver needs the key owner"),
    "unknown key at the top": ("waivers:\n", "waiver:\n", 1, "the file has no key waiver; did you mean waivers?"),
    "empty owner": ("owner: somebody", "owner:", 3, "owner of waiver torch-bool must be text, not nothing"),
    "owner not filled in": ("owner: somebody", "owner: 'FILL IN: who'", 3, "owner of waiver torch-bool is not filled in"),
    "reason not filled in": ("reason: bool", "reason: fill in why", 4, "reason of waiver torch-bool is not filled in"),
    "link not filled in": ("link: https", "link: FILL IN https", 5, "link of waiver torch-bool is not filled in"),
    "link without scheme": ("https://example.org", "example.org", 5, "must begin with https:// or http://"),
    "link to a file": ("https://example.org", "file:///tmp", 5, "must begin with"),
    "link to nowhere": ("https://example.org/issues/1", "https://", 5, "must begin with"),
    "no date": ("opened: 2026-11-01", "opened: yesterday", 6, "opened of waiver torch-bool must be a date such as 2026-11-20"),
    "in the future": ("opened: 2026-11-01", "opened: 2026-11-23", 6, "opened of waiver torch-bool is in the future"),
    "91 days": ("expires: 2027-01-30", "expires: 2027-01-31", 7, "more than 90 days after it was opened; the latest date is 2027-01-30"),
    "expires first": ("expires: 2027-01-30", "expires: 2026-10-31", 7, "before it was opened"),
    "no bounds": ('\n    torch: ">=2.10,<2.13"\n    cuda: "13"\n', " {}\n", 8, "where of waiver torch-bool is empty"),
    "bad specifier": (">=2.10,<2.13", "2.10 or newer", 9, "torch in where of waiver torch-bool must be a version or a bound"),
    "bad name": ("    torch:", "    '>=torch':", 9, "is not the name of a library or an axis"),
    "a list of bounds": ('"13"', "[12, 13]", 10, "cuda in where of waiver torch-bool must be text, not a list"),
    "unknown invariant": (B, "dtype.exchanges/a-b/dlpack/host", 12, "there is no invariant dtype.exchanges; did you mean dtype.exchange?"),
    "unknown family": (B, "colour.*", 12, "no case can match colour.*: there is no invariant colour.*; `list` shows all"),
    "a canary": (B, "canary.*", 12, "no case can match canary.*"),
    "no whole id": (B, "layout.null-strides", 12, "add a * at its end"),
    "unknown outcome": ("outcome: fail", "outcome: fails", 14, "there is no outcome fails; did you mean fail?"),
    "inconclusive": ("outcome: fail", "outcome: inconclusive", 14, "inconclusive cannot be waived, only fail, crash, hang"),
    "lost": ("outcome: fail", "outcome: [fail, lost]", 14, "lost cannot be waived"),
    "pass": ("outcome: fail", "outcome: pass", 14, "pass cannot be waived"),
    "no outcome": ("outcome: fail", "outcome: []", 14, "names no outcome"),
    "unknown code": ("code: dtype-changed", "code: dtype-change", 15, "there is no code dtype-change; did you mean dtype-changed?"),
    "no such code": ("code: dtype-changed", "code: [dtype-changed, zzz]", 15, "there is no code zzz; results.jsonl has that of each failure"),
    "no code": ("code: dtype-changed", "code: []", 15, "code of waiver torch-bool names no code"),
    "code missing": ("  code: dtype-changed\n", "", 2, "waiver torch-bool names no finding, so it needs code"),
    "code missing beside a refusal": ("outcome: fail\n  code: dtype-changed", "outcome: [fail, refused]", 2, "names no finding, so it needs code"),
    "outcome missing": ("  outcome: fail\n", "", 2, "waiver torch-bool names no finding, so it needs outcome"),
    "cases and finding missing": (
        f"  cases:\n  - {B}\n  - dtype.exchange/torch-*/dlpack/[cuda]*\n  outcome: fail\n  code: dtype-changed\n", "", 2,
        "waiver torch-bool selects no failures; give `finding`, or `cases`, `outcome` and `code`",
    ),
    "a finding without a slash": ("code: dtype-changed", "finding: not-ordered", 15, "finding of waiver torch-bool must be an id such as torch/consumer/not-ordered/cai, as `gate` and `check` print it, not 'not-ordered'"),
    "any finding": ("code: dtype-changed", 'finding: "*/*"', 15, "finding of waiver torch-bool must be an id such as"),
    "finding not filled in": ("code: dtype-changed", "finding: FILL IN/it", 15, "finding of waiver torch-bool is not filled in"),
    "a message": ("code: dtype-changed", "message: the element type changed", 15, "waiver torch-bool uses `message`, which is no longer supported; replace it by the `finding` that `gate` prints, or by the `code` of the failure"),
    "bad id": ("id: torch-bool", "id: Torch bool", 2, "an id has lower-case letters"),
    "no list": (GOOD, "waivers: torch-bool\n", 1, "waivers must be a list, not text"),
    "no mapping": (GOOD, "waivers: [torch-bool]\n", 1, "a waiver must be a mapping, not text"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_line(written: Written, name: str) -> None:
    """One each."""
    old, new, line, told = MISTAKES[name]
    assert GOOD.count(old) == 1, old
    path = written(GOOD.replace(old, new))
    with pytest.raises(UserError) as raised:
        read(path)
    assert any(text.strip().startswith(f"{path}:{line}: ") and told in text for text in str(raised.value).splitlines())


def test_an_older_file_is_told_in_one_sentence_a_waiver(written: Written) -> None:
    """Which says what to write in place of the message."""
    old = GOOD.replace("  code: dtype-changed\n", "  message: the element type changed; expected * saw int8\n")
    second = old.removeprefix("waivers:\n").replace("torch-bool", "torch-int4")
    path = written(old + second)
    with pytest.raises(UserError) as raised:
        read(path)
    first, *told = (text.strip() for text in str(raised.value).splitlines())
    assert first == f"{path} has 2 mistakes; nothing was done"
    wanted = "uses `message`, which is no longer supported; replace it by the `finding` that `gate` prints, or by the `code` of the failure"
    assert told == [f"{path}:15: waiver torch-bool {wanted}", f"{path}:29: waiver torch-int4 {wanted}"]


def test_all_mistakes_are_told_at_once(written: Written) -> None:
    """In the order of the file, and a waiver that is there twice is one of them."""
    second = (
        GOOD.removeprefix("waivers:\n")
        .replace("owner: somebody", "owner: FILL IN")
        .replace("outcome: fail", "outcome: lost")
    )
    path = written(GOOD + second)
    with pytest.raises(UserError) as raised:
        read(path)
    first, *told = str(raised.value).splitlines()
    assert first == f"{path} has 3 mistakes; nothing was done"
    assert [text.split(":")[1] for text in told] == ["16", "17", "28"]
    assert "waiver torch-bool appears twice, first in line 2" in told[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":1: the file must be a mapping with the key waivers"),
        ("- a\n", ":1: the file must be a mapping with the key waivers"),
        ("waivers: [\n", "waivers.yaml:2: "),
        ("waivers: &a []\n", "anchors and aliases are not supported"),
    ],
)
def test_what_is_no_such_file_is_a_sentence(written: Written, text: str, told: str) -> None:
    """Whatever it is instead."""
    with pytest.raises(UserError) as raised:
        read(written(text))
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """With the option that names another."""
    with pytest.raises(UserError, match="name another file with --waivers"):
        read(tmp_path / "none.yaml")


def test_a_version_of_thousands_of_digits_is_none(written: Written) -> None:
    """Python limits such conversions."""
    with pytest.raises(UserError, match="a number has more than 100 digits"):
        waiver_file.read(written(GOOD.replace(">=2.10,<2.13", "==" + "1" * 5000)), INVARIANTS, TODAY)
    (found, *_) = waiver_file.read(written(GOOD), INVARIANTS, TODAY)
    assert not found.is_for(cell(versions={"torch": "1" * 5000}))
