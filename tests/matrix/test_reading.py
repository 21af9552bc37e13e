"""matrix.yaml is read for what it says, and every mistake in it is told at once, with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.matrix.document import MOST_BYTES, MOST_LEVELS
from conformance.matrix.reading import read

from .conftest import SMALL, Written


def mistakes(path: Path) -> list[str]:
    """What is told about a file, without its path."""
    with pytest.raises(UserError) as raised:
        read(path)
    return [line.strip().removeprefix(f"{path}:") for line in str(raised.value).splitlines()]


def changed(old: str, new: str) -> str:
    """The small matrix with one thing changed."""
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


def line_of(text: str, part: str) -> int:
    """Where a text stands, counted from 1."""
    return text[: text.index(part)].count("\n") + 1


def test_versions_are_text_as_they_are_written(written: Written) -> None:
    """2.10 is not 2.1."""
    lib = read(written(SMALL)).axis("lib")
    assert lib.versions == ("2.10", "2.9", "none")
    assert (lib.values[0].released, lib.values[0].note) == (date(2026, 1, 2), "the newest")


def test_a_value_stands_for_the_requirement_of_the_cells_cuda_line(written: Written) -> None:
    """The package carries the line in its name."""
    matrix = read(written(SMALL))
    cell = matrix.cell({"cuda": "13.0", "python": "3.12", "lib": "2.10"})
    assert matrix.requirements(cell) == ("cuda-toolkit==13.0.*", "lib-cu13==2.10.*")


def test_a_cell_does_without_what_is_none(written: Written) -> None:
    """Neither a requirement nor a part of its name."""
    matrix = read(written(SMALL))
    cell = matrix.cell({"lib": "none", "cuda": "13.0", "python": "3.12"})
    assert (cell.name, matrix.requirements(cell)) == ("cu13.0-py3.12", ("cuda-toolkit==13.0.*",))


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ("", {"lib": "lib"}),
        ("    libraries: [one_lib, other]\n", {"one_lib": "lib", "other": "lib"}),
        ("    libraries: one_lib\n", {"one_lib": "lib"}),
        ("    libraries: []\n", {}),
    ],
)
def test_an_axis_stands_for_the_library_of_its_name_or_for_those_it_says(
    said: str, held: dict[str, str], written: Written
) -> None:
    """The CUDA line and the Python stand for none; nor does a cell hold what it does without."""
    matrix = read(written(changed("    tag: lib\n", f"    tag: lib\n{said}")))
    cell = matrix.cell({"cuda": "13.0", "python": "3.12", "lib": "2.10"})
    assert (matrix.versions(cell), matrix.libraries(cell)) == ({"cuda": "13.0", "python": "3.12", "lib": "2.10"}, held)
    without = matrix.cell({"cuda": "13.0", "python": "3.12", "lib": "none"})
    assert (matrix.versions(without), matrix.libraries(without)) == ({"cuda": "13.0", "python": "3.12"}, {})


ONE_MISTAKE = {
    "no name of a library": (
        "    tag: lib\n",
        "    tag: lib\n    libraries: [Lib-1]\n",
        "libraries of axis lib: 'Lib-1' is not the name of an adapter: lowercase letters, digits and _",
    ),
    "unknown key at the top": ("suite:", "suit:", "the file has no key suit; did you mean suite?"),
    "unknown key of an axis": ("    tag: lib", "    tog: lib", "axis lib has no key tog; did you mean tag?"),
    "unknown key of a value": ("released: 2026-01-02", "relased: 2026-01-02", "lib 2.10 has no key relased"),
    "unknown key of a tier": ("    extends: smoke", "    extend: smoke", "tier nightly has no key extend"),
    "unknown key of a rule": ("    reason: no wheels", "    reasons: no wheels", "rule lib-wheels has no key reasons"),
    "missing key": ("    what: a library\n", "", "axis lib needs the key what"),
    "list for a text": ("    what: a library", "    what: [a, library]", "what of axis lib must be text, not a list"),
    "text for a mapping": ("cells:\n  oldest: {", "cells: none #{", "cells must be a mapping, not text"),
    "text for a list": (
        "    cells: [oldest]",
        "    cells: {oldest: 1}",
        "cells of tier smoke must be a list, not a mapping",
    ),
    "nothing for a text": (
        "    reason: no wheels",
        "    reason:",
        "reason of rule lib-wheels must be text, not nothing",
    ),
    "no date": ("2026-01-02", "2026-13-02", "released of lib 2.10 must be a date such as 2026-11-20, not '2026-13-02'"),
    "no version": ('"2.9": ', '"2.x": ', "value '2.x' of axis lib is neither a version such as 2.5 nor none"),
    "key twice": ('"2.9": ', '"2.10": ', "2.10 is given twice, first in line"),
    "tag twice": ("    tag: lib", "    tag: py", "axes python and lib have the same tag py"),
    "tag of another kind": (
        "    tag: lib",
        "    tag: lib2",
        "tag 'lib2' of axis lib must be a word of lowercase letters",
    ),
    "no cuda": ('{"13.0": , "12.8": }', '{"13.0": , none: }', "axis cuda cannot be none"),
    "no requirement": ('"cuda-toolkit=={version}.*"', '"cuda toolkit=={version}"', "is not a requirement"),
    "an address": ('["pytest>=7"]', '["pytest @ https://example.org/p.whl"]', "has a URL"),
    "always the same": ('"cuda-toolkit=={version}.*"', '"cuda-toolkit"', "does not use {version}"),
    "unknown line": (
        '"13": "lib-cu13',
        '"14": "lib-cu14',
        "requires of axis lib is for CUDA 14, which is not a major version of axis cuda",
    ),
    "unknown axis in a rule": (
        "{lib: ",
        "{lip: ",
        "forbid of rule lib-wheels: there is no axis lip; did you mean lib?",
    ),
    "no condition": ('"<2.10"', '"2.9"', "'2.9' is not a condition; write none, any, or a version range"),
    "fits nothing": ('"<2.10"', '"<1"', "'<1' matches none of 2.10, 2.9, none"),
    "two forms": ("    forbid: {", "    require: {cuda: any}\n    forbid: {", "rule lib-wheels needs exactly one of"),
    "unknown axis in a cell": ('lib: "2.9"}', 'lip: "2.9"}', "cell oldest has no key lip; did you mean lib?"),
    "unknown value in a cell": ('lib: "2.9"}', 'lib: "2.8"}', "cell oldest: axis lib has no value 2.8"),
    "axis missing in a cell": (', lib: "2.9"}', "}", "cell oldest needs the key lib"),
    "name of a cell": ("  oldest: {", "  Oldest One: {", "cell 'Oldest One': a name consists of lowercase letters"),
    "unknown cell in a tier": ("[oldest]", "[eldest]", "tier smoke: there is no cell eldest; did you mean oldest?"),
    "unknown tier": (
        "    extends: smoke",
        "    extends: smok",
        "tier nightly extends smok, which is not a tier above it",
    ),
    "itself": ("    extends: smoke", "    extends: nightly", "tier nightly extends nightly, which is not a tier above"),
    "no cells": ("    cells: [oldest]\n", "", "tier smoke has no cells; give cells, cover or extends"),
    "no number": ("{each: 2}", "{each: many}", "each of tier nightly must be a number from 1 to 3, not 'many'"),
    "too many": ("{each: 2}", "{each: 4}", "each of tier nightly must be a number from 1 to 3, not '4'"),
    "unknown axis in a tier": ("{each: 2}", "{each: 1, over: [lip]}", "tier nightly: there is no axis lip"),
}


@pytest.mark.parametrize("case", ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_a_mistake_is_told_with_its_line(written: Written, case: tuple[str, str, str]) -> None:
    """The first line of what was changed, or of what it belongs to."""
    old, new, told = case
    text = changed(old, new)
    here = SMALL[: SMALL.index(old)].count("\n") + 1
    found = [line for line in mistakes(written(text)) if told in line]
    assert found, mistakes(written(text))
    number = int(found[0].split(":")[0])
    assert abs(number - here) <= max(2, old.count("\n")), found


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('when: {lib: any}\n    require: {cuda: ">=12"}', "removes nothing: every value of cuda meets it"),
        ("at-least: {count: 1, of: [cuda, lib]}", "removes nothing: only 1 of them can be none"),
        ('forbid: {cuda: ">=12"}', "rule odd removes every cell"),
        ('forbid: [{lib: any}, {lib: none}]', "rule odd removes every cell"),
        ("at-least: {count: 3, of: [lib]}", "count of rule odd must be a number from 1 to 1, not '3'"),
        ("forbid: {}", "forbid of rule odd names no axis"),
        ('when: {cuda: any}\n    require: {lib: "2.10"}', "'2.10' is not a condition"),
        ('when: {lib: any}\n    require: {lib: ">=2.10"}', "has lib in when and in require"),
    ],
)  # fmt: skip
def test_a_rule_removes_something_but_not_everything(written: Written, rule: str, told: str) -> None:
    """What removes nothing is a mistake somewhere, and so is what removes all."""
    text = changed("rules:\n", f"rules:\n  odd:\n    {rule}\n    reason: why\n")
    found = mistakes(written(text))
    assert any(line.startswith(("18:", "19:", "20:")) and told in line for line in found), found


def test_a_value_that_rules_leave_in_no_cell_is_named_with_the_rule(written: Written) -> None:
    """Dead values look like coverage."""
    text = changed("rules:\n", 'rules:\n  odd:\n    forbid: {lib: "<2.10", python: "<3.12"}\n    reason: why\n')
    assert mistakes(written(text))[1:] == [
        f"{line_of(text, '2.10')}: lib 2.9 is in no cell that the rules allow: "
        "without rule odd or without rule lib-wheels it would be in one",
        f"{line_of(text, '  oldest')}: cell oldest is removed by rule odd",
    ]


def test_rules_that_leave_nothing_together_are_told(written: Written) -> None:
    """Each alone may look well."""
    text = changed("rules:\n", "rules:\n  a: {forbid: {lib: any}, reason: r}\n  b: {forbid: {lib: none}, reason: r}\n")
    assert any("the rules together remove every cell" in line for line in mistakes(written(text)))


def test_a_value_without_requirement_on_a_line_that_it_can_meet_is_told(written: Written) -> None:
    """Else a cell would silently be without it."""
    text = changed(', "13": "lib-cu13=={version}.*"', "")
    found = mistakes(written(text))
    assert any("lib 2.10 can be combined with CUDA 13.0, for which axis lib has no requires" in line for line in found)


def test_a_forbidden_cell_is_told_with_the_rule(written: Written) -> None:
    """An end cell has to be possible."""
    text = changed('python: "3.11", lib: "2.9"', 'python: "3.12", lib: "2.9"')
    assert mistakes(written(text))[1:] == [f"{line_of(text, '  oldest')}: cell oldest is removed by rule lib-wheels"]


def test_the_same_cell_under_two_names_is_told_once_more(written: Written) -> None:
    """Both lines are named."""
    text = changed("cells:\n", 'cells:\n  first: {cuda: "12.8", python: "3.11", lib: "2.9"}\n')
    at = line_of(text, "  oldest")
    assert mistakes(written(text))[1:] == [f"{at}: cell oldest has the same values as cell first in line {at - 1}"]


def test_an_excuse_that_excuses_nothing_is_told(written: Written) -> None:
    """It would hide that the tier has changed."""
    text = SMALL + '    without:\n      - {values: {lib: "<2.10", python: ">=3.12"}, reason: forbidden anyway}\n'
    assert mistakes(written(text))[1:] == [
        f"{line_of(text, '- {values')}: without of tier nightly excludes nothing that the tier must cover"
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(written: Written) -> None:
    """Of every kind: keys, types, rules, cells and tiers."""
    text = SMALL
    for old, new in (
        ("    tag: lib", "    tog: lib"),
        ("2026-01-02", "yesterday"),
        ("rules:\n", "rules:\n  all: {forbid: {cuda: any}, reason: why}\n"),
        ('lib: "2.9"}', 'lib: "2.8"}'),
        ("{each: 2}", "{each: 0}"),
    ):
        text = text.replace(old, new)
    found = mistakes(written(text))
    numbers = [int(line.split(":")[0]) for line in found[1:]]
    assert "has 6 mistakes" in found[0], found
    assert numbers == sorted(numbers)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "1: anchors and aliases are not supported; repeat the value"),
        ("axes: *x\n", "1: anchors and aliases are not supported; repeat the value"),
        ("axes: !!python/object:os.system {}\n", "1: tags are not supported; all values are plain text"),
        ("axes: " + "[" * 5000 + "]" * 5000, f"1: more than {MOST_LEVELS} levels deep"),
        ("axes:\n  - {\n", "3: "),
        ("axes:\n\tcuda: 1\n", "2: "),
        ("[1, 2]\n", "1: the file must be a mapping"),
        ("", "1: the file must be a mapping"),
        ("a: 1\n---\nb: 2\n", "2: "),
        ("a: \x07\n", "unacceptable character"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(written: Written, text: str, told: str) -> None:
    """Before anything is expanded."""
    found = mistakes(written(text))
    assert len(found) == 1
    assert told in found[0]


def test_a_file_that_is_too_large_is_refused_unread(written: Written) -> None:
    """A matrix is a page or two."""
    assert "larger than 1 MiB" in mistakes(written("#" * (MOST_BYTES + 1)))[0]


def test_a_file_that_cannot_be_read_is_a_mistake_of_the_users(tmp_path: Path) -> None:
    """Absent, or no UTF-8."""
    assert "absent.yaml is not there" in mistakes(tmp_path / "absent.yaml")[0]
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: ü\n".encode("latin-1"))
    assert mistakes(tmp_path / "latin.yaml")[0].startswith("2: not valid UTF-8")


def test_a_number_of_thousands_of_digits_is_a_mistake(written: Written) -> None:
    """Python limits such conversions; all other mistakes of the file are reported with it."""
    found = mistakes(written(changed('lib: "<2.10"', f'lib: "<{"1" * 5000}"')))
    assert any("a number has more than 100 digits" in told for told in found)
