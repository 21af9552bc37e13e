"""Check that the installed packages match the lock file and support this Python. Exits with 1 and a list of differences."""

import importlib.metadata
import platform
import re
import sys


def canonical(name: str) -> str:
    """Return the normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(lock: str) -> dict[str, str]:
    """Return the versions in a requirements file with exact versions, by package name."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def installed() -> dict[str, str]:
    """Return the installed versions, by package name."""
    return {canonical(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def differences(lock: dict[str, str], here: dict[str, str]) -> list[str]:
    """Return a sentence for every package that is missing, unexpected, or of another version."""
    return [
        f"{name}: the lock has {lock.get(name, 'none')}, the image {here.get(name, 'none')}"
        for name in sorted({*lock, *here})
        if lock.get(name) != here.get(name)
    ]


def refusals(required: dict[str, str], python: str) -> list[str]:
    """Return a sentence for every package whose Requires-Python excludes this version. uv checks only the lower bound."""
    from packaging.specifiers import SpecifierSet

    return [
        f"{name} requires Python {specifier}, this is {python}"
        for name, specifier in sorted(required.items())
        if not SpecifierSet(specifier).contains(python, prereleases=True)
    ]


def requirements() -> dict[str, str]:
    """Return the Requires-Python of the packages that have one, by package name."""
    told = ((d.metadata["Name"], d.metadata["Requires-Python"]) for d in importlib.metadata.distributions())
    return {canonical(name): specifier for name, specifier in told if specifier}


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = differences(wanted(file.read()), installed())
    if "packaging" in installed():  # true in every cell, because pytest depends on it
        found += refusals(requirements(), platform.python_version())
    if found:
        sys.exit("this image differs from its lock file: " + "; ".join(found))
