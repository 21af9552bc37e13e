"""Is what is installed here exactly what the lock says, and does all of it support this Python? Ends with 1 and what is wrong."""

import importlib.metadata
import platform
import re
import sys


def canonical(name: str) -> str:
    """The name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(lock: str) -> dict[str, str]:
    """Versions by name, of a requirements file with exact versions."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def installed() -> dict[str, str]:
    """Versions by name, of this interpreter's environment."""
    return {canonical(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def differences(lock: dict[str, str], here: dict[str, str]) -> list[str]:
    """A sentence for every package that is missing, surplus, or of another version."""
    return [
        f"{name}: the lock has {lock.get(name, 'none')}, the image {here.get(name, 'none')}"
        for name in sorted({*lock, *here})
        if lock.get(name) != here.get(name)
    ]


def refusals(required: dict[str, str], python: str) -> list[str]:
    """A sentence for every package whose Requires-Python leaves this one out; uv looks at its lower bound only."""
    from packaging.specifiers import SpecifierSet

    return [
        f"{name} requires Python {specifier}, this is {python}"
        for name, specifier in sorted(required.items())
        if not SpecifierSet(specifier).contains(python, prereleases=True)
    ]


def requirements() -> dict[str, str]:
    """Requires-Python by name, of what says so."""
    told = ((d.metadata["Name"], d.metadata["Requires-Python"]) for d in importlib.metadata.distributions())
    return {canonical(name): specifier for name, specifier in told if specifier}


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = differences(wanted(file.read()), installed())
    if "packaging" in installed():  # as in every cell, because pytest needs it
        found += refusals(requirements(), platform.python_version())
    if found:
        sys.exit("this image is not what its lock says: " + "; ".join(found))
