"""Detection of pytest runs that collect the suite: other runs must not notice the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.pytest_plugin import scope

SKIPPED = ("*.egg", ".*", "build", "venv")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("conformance.suite", scope.SUITE),
        ("conformance.suite.test_pointer", scope.SUITE / "test_pointer.py"),
        ("conformance.suite.test_pointer::test_chain[a/b::c]", scope.SUITE / "test_pointer.py"),
        ("conformance", scope.ROOT),
    ],
)
def test_a_name_in_the_package_is_a_path_in_it(argument: str, expected: Path, tmp_path: Path) -> None:
    """With ``--pyargs``."""
    assert scope.path_of(argument, tmp_path, packages=True) == expected


def test_without_pyargs_a_name_is_a_path(tmp_path: Path) -> None:
    """A folder with the same name is the user's."""
    assert scope.path_of("conformance.suite", tmp_path, packages=False) == tmp_path / "conformance.suite"


def test_another_package_whose_name_begins_alike_is_not_ours(tmp_path: Path) -> None:
    """``conformance_of_others`` is a path."""
    found = scope.path_of("conformance_of_others.suite", tmp_path, packages=True)
    assert not scope.leads_to_suite(found, SKIPPED, environments=False)


@pytest.mark.parametrize("path", [scope.SUITE, scope.SUITE / "test_pointer.py", scope.ROOT, scope.ROOT.parent])
def test_the_suite_its_files_and_the_folders_around_it_lead_to_it(path: Path) -> None:
    """As pytest searches folders."""
    assert scope.leads_to_suite(path, (), environments=True)


@pytest.mark.parametrize("path", [scope.ROOT / "adapters", scope.ROOT.parent / "tests", Path("/nowhere")])
def test_a_folder_beside_the_suite_does_not_lead_to_it(path: Path) -> None:
    """The tests of this project, for one."""
    assert not scope.leads_to_suite(path, SKIPPED, environments=False)


def test_pytest_does_not_come_to_a_suite_in_an_environment_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project with its environment in a subfolder runs its own tests only."""
    suite = tmp_path / "env" / "site-packages" / "conformance" / "suite"
    suite.mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    monkeypatch.setattr(scope, "SUITE", suite)
    assert not scope.leads_to_suite(tmp_path, SKIPPED, environments=False)
    assert scope.leads_to_suite(tmp_path, SKIPPED, environments=True)
    assert scope.leads_to_suite(suite.parent, SKIPPED, environments=False)


def test_pytest_does_not_come_to_a_suite_in_a_folder_that_it_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``norecursedirs``."""
    suite = tmp_path / "build" / "conformance" / "suite"
    monkeypatch.setattr(scope, "SUITE", suite)
    assert not scope.leads_to_suite(tmp_path, SKIPPED, environments=False)
    assert scope.leads_to_suite(tmp_path, ("other",), environments=False)
