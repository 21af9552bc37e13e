"""Ask a package index, through uv, for the wheel that meets a candidate's requirement."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from conformance.exits import UserError
from conformance.matrix import uv
from conformance.matrix.locks import find_uv

from . import commands, wheels

_WHEEL = re.compile(r'(?:url|path) = "(?P<where>[^"]+\.whl)"[^{}]*hashes = \{ sha256 = "(?P<sha256>[0-9a-f]{64})" \}')
"""Pattern of one wheel in the output of uv."""


@dataclass(frozen=True)
class File:
    """A wheel in a package index."""

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Index:
    """The configured package index. ``tell`` receives each command before it runs."""

    environment: Mapping[str, str]
    tell: Callable[[str], None]

    def best(self, requirement: str, python: str) -> File | str:
        """Return the newest wheel that meets the requirement for this Python, or the reason in uv's words why there is none.

        Raises:
            UserError: uv failed for another reason.
        """
        command = commands.resolve(find_uv(), python)
        self.tell(f"+ {uv.shown(command, [requirement])}")
        done = subprocess.run(
            command, input=requirement, capture_output=True, text=True, check=False,
            env=dict(self.environment), cwd=uv.NEUTRAL,
        )  # fmt: skip
        if done.returncode:
            why = uv.no_solution(done.stderr)
            if why:
                return f"no release fits {requirement}: {why}"
            raise UserError(
                f"--candidate {requirement}: the package index could not be queried ({uv.trouble(done.stderr)}); nothing was run"
            )
        return choose(done.stdout, python)


def choose(answer: str, python: str) -> File:
    """Return the best wheel in the output of uv.

    Raises:
        UserError: the output names no usable wheel.
    """
    order = {tag: place for place, tag in enumerate(wheels.supported(python))}
    found: list[tuple[int, File]] = []
    for match in _WHEEL.finditer(answer):
        file = unquote(match["where"].split("?")[0].rsplit("/", 1)[-1])
        try:
            name, version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        places = [order[tag] for tag in tags if tag in order]
        if places:
            found.append((min(places), File(name, str(version), file, match["sha256"])))
    if not found:
        raise UserError(f"--candidate: the output of uv names no usable wheel: {' '.join(answer.split())[:200]!r}")
    return min(found, key=lambda one: one[0])[1]
