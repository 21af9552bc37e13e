"""The command ``finding``: a list, one page, or a page for each finding that no tracker has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.checks.codes import Code
from conformance.checks.outcomes import Side
from conformance.cli import main
from conformance.execution import run_folder
from conformance.execution.results import Result, write_lines
from conformance.exits import Exit
from conformance.findings.model import Status
from conformance.protocols.clauses import Level
from conformance.reports import finding_page
from conformance.reports.finding_cli import file_name
from conformance.reports.finding_page import page
from conformance.verdict import Verdict

from .samples import FACTS, case, died, failed, found, plain

REVERSED = "an array with negative strides"
CRASH = died(case("numpy", "torch", layout="reversed-step", dtype="float32"), given=REVERSED)
"""Known, and fixed in a newer release."""
VALUES = failed(case("torch", "numpy", layout="c-order", dtype="float32"))
EXPORT = failed(case("numpy", "reference", layout="c-order", dtype="float32"), Side.PRODUCER, cited="DLP-59")
DEVIATION = failed(
    case("reference", "numpy", layout="vector", dtype="int8"), code=Code.SHAPE_CHANGED, level=Level.SHOULD
)
ILLEGAL = died(case("reference", "numpy", layout="cube", dtype="int8"), level=Level.ROBUSTNESS, given="a rank of -1")
PASS = plain(case("reference", "torch", layout="c-order", dtype="float32"))
RESULTS = (CRASH, VALUES, EXPORT, DEVIATION, ILLEGAL, PASS)
IDS = {one.smallest.case: one.id for one in found(RESULTS)}
"""The finding's id by its case."""


def made(path: Path, results: Iterable[Result] = RESULTS) -> Path:
    """A folder as a run leaves it."""
    path.mkdir(parents=True)
    kept = list(results)
    (path / run_folder.ENVIRONMENT).write_text(json.dumps(FACTS.to_json()))
    write_lines(path / run_folder.PLAN, (one.case.to_json() for one in kept))
    write_lines(path / run_folder.RESULTS, (one.to_json() for one in kept))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with five findings."""
    return made(tmp_path / "run")


@pytest.fixture
def finding(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Given:
    """``finding … --results RUN``: the exit code, and what went to each stream."""
    monkeypatch.setenv("COLUMNS", "160")

    def given(*arguments: object, results: Path = run) -> Done:
        code = main(["finding", *map(str, arguments), "--results", str(results)])
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return given


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    stdout: str
    stderr: str

    @property
    def mistake(self) -> str:
        """The one sentence of a user's mistake."""
        assert (self.code, self.stdout, len(self.stderr.splitlines())) == (Exit.USAGE, "", 1)
        return self.stderr.removeprefix("conformance: ").rstrip("\n")


Given = Callable[..., Done]


def expected_page(id: str) -> str:
    """The page of this finding."""
    (one,) = (one for one in found(RESULTS) if one.id == id)
    return page(one, RESULTS, FACTS)


def test_the_findings_of_the_samples_are_of_every_kind() -> None:
    """Else these tests would show nothing."""
    assert {(one.verdict, one.status) for one in found(RESULTS)} >= {
        (Verdict.VIOLATES, Status.NEW), (Verdict.VIOLATES, Status.FIXED), (Verdict.DEVIATES, Status.NEW),
        (Verdict.ROBUSTNESS, Status.NEW),
    }  # fmt: skip
    assert len(IDS) == 5


# -- the list


def test_without_an_id_all_are_listed(finding: Given) -> None:
    """Id, sentence, how many cases and with whom; and the headline. Deviations, too: who lists wants to see all."""
    done = finding()
    lines = done.stdout.splitlines()
    expected = []
    for one in found(RESULTS):
        partner = one.partners[0].replace("reference", "the reference")
        expected += [f"{one.verdict.symbol} {one.id}", f"    {one.sentence} 1 case with {partner}"]
    assert (done.code, lines[:-1]) == (Exit.OK, expected)
    assert lines[-1] == (
        "3 findings in 2 libraries: 2 new, 1 fixed in a newer release; 1 about robustness; 1 deviation"
    )


def test_a_run_without_findings_has_an_empty_list(finding: Given, tmp_path: Path) -> None:
    """That is no mistake."""
    done = finding(results=made(tmp_path / "good", [PASS]))
    assert (done.code, done.stdout) == (Exit.OK, "no violations\n")


# -- one page


@pytest.mark.parametrize("one", [CRASH, VALUES, EXPORT, DEVIATION, ILLEGAL], ids=lambda one: one.case.id)
def test_the_page_of_an_id_is_printed(one: Result, finding: Given) -> None:
    """And nothing else, so that it can be piped."""
    id = IDS[one.case.id]
    assert finding(id) == Done(Exit.OK, expected_page(id), "")


@pytest.mark.parametrize("pattern", ["torch/*", "*crash/import/array-with-negative*", "torch/consumer/*strides"])
def test_a_pattern_may_stand_for_an_id(pattern: str, finding: Given) -> None:
    """Ids are long; ``*`` is any text."""
    assert finding(pattern).stdout == expected_page(IDS[CRASH.case.id])


def test_a_page_can_be_written_to_a_file(finding: Given, tmp_path: Path) -> None:
    """Then nothing is printed."""
    id = IDS[VALUES.case.id]
    done = finding(id, "--out", tmp_path / "page.md")
    assert done == Done(Exit.OK, "", "")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == expected_page(id)


def test_a_page_can_be_printed_with_what_the_script_says(finding: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run here and now, by the interpreter that this runs in."""
    monkeypatch.setattr(finding_page, "script", lambda *_, **__: "import sys\nprint('seen 7')\nsys.exit(1)\n")
    done = finding(IDS[VALUES.case.id], "--run")
    assert done.code == Exit.OK
    assert "\n\nThe script ends with exit code 1 and prints:\n\n```\nseen 7\n```\n\n## Extent\n" in done.stdout
    assert "seen 7\n```\n" not in finding(IDS[VALUES.case.id]).stdout.replace("print('seen 7')", "")


# -- mistakes


def test_an_unknown_id_is_answered_with_those_of_the_library(finding: Given, run: Path) -> None:
    """One sentence, exit code 2."""
    crash = IDS[CRASH.case.id]
    assert finding("torch/consumer/crahs").mistake == (
        f"{run} has no finding torch/consumer/crahs; did you mean {crash}?"
    )
    told = finding("numpy/producer/nothing").mistake
    assert told.partition("did you mean ")[2].startswith("numpy/")
    assert crash not in told


@pytest.mark.parametrize("id", ["tensorflow/consumer/crash", "nonsense", "*nonsense*"])
def test_an_unknown_library_is_answered_with_the_way_to_the_list(id: str, finding: Given, run: Path) -> None:
    """Nothing is close."""
    assert finding(id).mistake == f"{run} has no finding {id}; `finding` without an id lists all"


def test_a_pattern_that_fits_several_names_them(finding: Given, run: Path) -> None:
    """The first three, and how many there are besides; a page is about one cause."""
    told = finding("numpy/*").mistake
    ids = [id for id in IDS.values() if id.startswith("numpy/")]
    assert told.startswith(f"{run} has {len(ids)} findings that match numpy/*; name one of ")
    assert told.partition("name one of ")[2].split(" and ")[0].split(", ")[0] in ids
    assert finding("*").mistake.endswith(f" and {len({*IDS.values()}) - 3} more")


def test_an_id_without_a_star_is_no_pattern(finding: Given) -> None:
    """The beginning of an id is not that id, though it may be one of another finding."""
    assert "has no finding torch;" in finding("torch").mistake


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("torch/*", "--new", "--out", "there"), "omit the id or --new"),
        (("--new",), "name the folder with --out"),
        (("--run",), "need a finding id, or --new"),
        (("--out", "there"), "need a finding id, or --new"),
    ],
)
def test_no_option_is_passed_over(
    arguments: tuple[str, ...], told: str, finding: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who gives it wants something; nothing is written then."""
    monkeypatch.chdir(tmp_path)
    assert told in finding(*arguments).mistake
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [(run_folder.ENVIRONMENT, "{"), (run_folder.PLAN, "{}\n"), (run_folder.PLAN, ""), (run_folder.RESULTS, "[]\n")],
)
def test_a_folder_that_holds_no_run_is_told(name: str, content: str, finding: Given, run: Path) -> None:
    """With what cannot be read."""
    (run / name).write_text(content)
    told = finding().mistake
    assert told.startswith(f"--results: {run} holds no readable run (")
    assert told.endswith("give the folder written by `check --out`")


def test_a_run_of_a_newer_suite_is_told_as_such(finding: Given, tmp_path: Path) -> None:
    """Its cases cannot be explained here."""
    newer = made(tmp_path / "newer", [replace(PASS, case=replace(PASS.case, invariant="pointer.brand-new"))])
    told = finding(results=newer).mistake
    assert told == (
        "--results: this suite has no case pointer.brand-new/reference-torch/dlpack/host/c-order/float32; "
        f"{newer} comes from another version of it"
    )


def test_a_page_that_cannot_be_written_is_told(finding: Given, tmp_path: Path) -> None:
    """Without a traceback."""
    (tmp_path / "file").write_text("")
    told = finding(IDS[VALUES.case.id], "--out", tmp_path / "file" / "page.md").mistake
    assert told.startswith(f"--out: {tmp_path}/file/page.md cannot be written: ")
    assert finding("--new", "--out", tmp_path / "file" / "pages").mistake.startswith("--out: ")


# -- a page for each that is new


def test_each_new_broken_promise_gets_a_page(finding: Given, tmp_path: Path) -> None:
    """And an index; what is known, a deviation, and robustness do not: their trackers have nothing to learn."""
    out = tmp_path / "some" / "pages"
    done = finding("--new", "--out", out)
    new = [IDS[EXPORT.case.id], IDS[VALUES.case.id]]
    assert done == Done(Exit.OK, f"2 pages and an index in {out}\n", "")
    names = {id: id.replace("/", ".") + ".md" for id in new}
    assert {path.name for path in out.iterdir()} == {"README.md", *names.values()}
    assert all((out / names[id]).read_text(encoding="utf-8") == expected_page(id) for id in new)


def test_the_index_leads_to_every_page(finding: Given, tmp_path: Path) -> None:
    """With the sentence of each, and the headline of the run."""
    finding("--new", "--out", tmp_path / "pages")
    index = (tmp_path / "pages" / "README.md").read_text(encoding="utf-8")
    links = dict(re.findall(r"^- \[(.*)\]\((.*)\)$", index, flags=re.MULTILINE))
    new = {
        one.sentence: file_name(one) for one in found(RESULTS) if one.id in (IDS[EXPORT.case.id], IDS[VALUES.case.id])
    }
    assert links == new
    assert all((tmp_path / "pages" / name).exists() for name in links.values())
    assert "3 findings in 2 libraries: 2 new, 1 fixed in a newer release" in index


def test_each_new_page_has_what_its_script_says(
    finding: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``--run``."""
    monkeypatch.setattr(finding_page, "script", lambda at, *_, **__: f"print('of', {at.id!r})\n")
    finding("--new", "--run", "--out", tmp_path / "pages")
    for one in (EXPORT, VALUES):
        (named,) = (each for each in found(RESULTS) if each.id == IDS[one.case.id])
        text = (tmp_path / "pages" / file_name(named)).read_text(encoding="utf-8")
        assert f"The script ends with exit code 0 and prints:\n\n```\nof {one.case.id}\n```\n" in text


def test_a_run_without_new_findings_has_an_index_all_the_same(finding: Given, tmp_path: Path) -> None:
    """So that whoever looks for it sees that nothing is new."""
    out = tmp_path / "pages"
    done = finding("--new", "--out", out, results=made(tmp_path / "old", [CRASH, PASS]))
    assert done.stdout == f"0 pages and an index in {out}\n"
    assert [path.name for path in out.iterdir()] == ["README.md"]


@pytest.mark.parametrize("wanted", [["--new"], [IDS[VALUES.case.id]]])
def test_nothing_is_overwritten(wanted: list[str], finding: Given, tmp_path: Path) -> None:
    """A page may be somebody's work by then, and a run's results lie in a file, too."""
    out = tmp_path / ("README.md" if wanted != ["--new"] else "")
    (tmp_path / "README.md").write_text("mine")
    mistake = finding(*wanted, "--out", out).mistake
    assert mistake == f"--out: {tmp_path / 'README.md'} already exists; choose another place, or remove it"
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("torch/consumer/not-ordered/cai", "torch.consumer.not-ordered.cai.md"),
        ("a/b/stream=-2/v1.2_x", "a.b.stream=-2.v1.2_x.md"),
        ("x/../../etc/passwd", "x.......etc.passwd.md"),
    ],
)
def test_an_id_makes_the_name_of_a_file(id: str, name: str) -> None:
    """In the folder that was asked for, whatever the id."""
    (one, *_) = found([VALUES])
    assert file_name(replace(one, id=id)) == name
    assert "/" not in name


def test_the_command_reads_what_check_has_left(conformance: Command, tmp_path: Path) -> None:
    """From the run to the page, as a user does it."""
    path = install(tmp_path / "site", "blind", take="self.read = lambda array: bytes(48)")
    id = "pointer.values/reference-blind/dlpack/host/c-order/float32"
    done = conformance("check", "--case", id, "--between", "blind", path=path)
    assert done.code == Exit.VIOLATIONS, done.stderr
    listed = conformance("finding", path=path)
    assert listed.stdout.splitlines()[0] == "✗ blind/consumer/values-changed/dlpack"
    told = conformance("finding", "blind/*", path=path)
    assert (told.code, told.stdout.splitlines()[0]) == (
        Exit.OK,
        "# blind reads wrong elements from a plain array, by DLPack.",
    )
    assert f"- `{id}`" in told.stdout
    missing = conformance("finding", "blind/nothing", path=path)
    assert (missing.code, "did you mean blind/consumer/values-changed/dlpack" in missing.stderr) == (Exit.USAGE, True)


def test_where_a_folder_is_needed_this_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device and a file are none."""
    for out in ("/dev/null", str(run / "plan.jsonl")):
        assert main(["finding", "--new", "--results", str(run), "--out", out]) == Exit.USAGE
        assert "a folder is needed, and this is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(run_folder.FILES))
def test_no_output_replaces_a_file_of_the_run_that_it_was_made_from(
    name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a page nor a script, whether or not the file is there."""
    before = {path: path.read_bytes() for path in run.iterdir()}
    out = ("--results", str(run), "--out", str(run / name))
    for arguments in (("finding", IDS[EXPORT.case.id], *out), ("repro", EXPORT.case.id, *out)):
        assert main(arguments) == Exit.USAGE
        assert "is what --results names, and would be lost" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.iterdir()} == before
