"""Check in ``environment.json`` of a cell whether the cell has tested its candidates. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from conformance import shapes

from ..model import Candidate

_FOUND = {"version": str, "folder": str}
_MODULE = {"module": str, **dict.fromkeys(("file", "version", "error"), (None, str))}
SHAPE = {
    "candidates": shapes.Maybe(
        [{"folder": str, "distribution": (None, str), "found": [_FOUND], "modules": [_MODULE], "trouble": (None, str)}]
    ),
    "libraries": shapes.Maybe([{"name": str, "versions": shapes.Each(str), "absent": (None, str)}]),
}
"""Keys of ``environment.json`` that this module reads."""


def troubles(
    environment: Mapping[str, Any], candidates: Sequence[Candidate], planned: Collection[str] | None = None
) -> list[str]:
    """Return a sentence for each candidate that the cell did not test, or tested only beside another version.

    ``planned`` are the libraries with a case in the plan, or ``None`` if other tests also test the candidates.
    """
    by_name = {facts["distribution"]: facts for facts in environment.get("candidates", ())}
    died = [facts["trouble"] for facts in by_name.values() if facts["trouble"]]
    found = [
        _trouble(one, by_name.get(one.name), environment.get("libraries", ()), died, planned) for one in candidates
    ]
    return [f"{one}: {why}" for one, why in zip(candidates, found) if why]


def _trouble(
    one: Candidate,
    facts: Mapping[str, Any] | None,
    libraries: Sequence[Mapping[str, Any]],
    died: Sequence[str],
    planned: Collection[str] | None,
) -> str:
    if facts is None:
        return "; ".join(died) or "the environment.json of the cell does not mention it"
    return _metadata(one, facts) or _imported(one, facts) or _used(one, libraries, planned)


def _metadata(one: Candidate, facts: Mapping[str, Any]) -> str:
    """Return a problem unless there is exactly one distribution of this name, the candidate."""
    found = facts["found"]
    if not found:
        return "importlib.metadata does not find it"
    if len(found) > 1:
        there = " and ".join(f"{other['version']} in {other['folder']}" for other in found)
        return f"importlib.metadata finds {there}"
    if found[0]["folder"] != facts["folder"] or not _equal(found[0]["version"], one.version):
        return f"importlib.metadata finds {found[0]['version']} in {found[0]['folder']}"
    return ""


def _imported(one: Candidate, facts: Mapping[str, Any]) -> str:
    """Return a problem unless all modules come from the candidate's folder, one can be imported, and their version is that of the candidate."""
    modules = facts["modules"]
    for module in modules:
        if module["file"] and not PurePosixPath(module["file"]).is_relative_to(facts["folder"]):
            return f"{module['module']} is imported from {module['file']}"
    if all(module["error"] or not module["file"] for module in modules):
        why = next((f": {module['module']}: {module['error']}" for module in modules if module["error"]), "")
        return f"none of its modules can be imported{why}"
    versions = [module["version"] for module in modules if _is_version(module["version"])]
    if versions and not any(_equal(version, one.version) for version in versions):
        return f"the imported module reports version {versions[0]}"
    return ""


def _used(one: Candidate, libraries: Sequence[Mapping[str, Any]], planned: Collection[str] | None) -> str:
    """Return a problem if the suite could not use the library of the candidate, or if no planned case tests it."""
    brought = []
    for library in libraries:
        names: dict[str, str] = {canonicalize_name(name): version for name, version in library["versions"].items()}
        if one.name not in names:
            continue
        if not _equal(names[one.name], one.version):
            return f"the suite has tested {names[one.name]}"
        if library["absent"]:
            return f"the suite could not use it: {library['absent']}"
        brought.append(library["name"])
    if planned is not None and brought and not any(name in planned for name in brought):
        return "no planned case tests it"
    return ""


def _is_version(text: str | None) -> bool:
    try:
        return bool(Version(text or ""))
    except ValueError:  # not a version, or one with thousands of digits
        return False


def _equal(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except ValueError:  # not a version, or one with thousands of digits
        return one == other
