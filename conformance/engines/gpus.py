"""Find the GPUs of the machine, and the way in which an engine gives them to a container.

The module reads device files and CDI descriptions. It loads no CUDA library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from conformance.exits import UserError

from .model import Gpus

CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
CDI_KIND = "nvidia.com/gpu"
AUTO, NONE = "auto", "none"


def present(folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the indices of the NVIDIA GPUs of this machine."""
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in folder.glob("nvidia*"))
    return tuple(sorted((match[1] for match in found if match), key=int))


def described(folders: Iterable[Path] = CDI_FOLDERS) -> bool:
    """Return whether this machine has a CDI description of NVIDIA GPUs."""
    files = (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))
    return any(
        CDI_KIND in path.read_text(encoding="utf-8", errors="replace")
        for path in files
        if path.suffix in (".yaml", ".yml", ".json")
    )


def wanted(asked: str, here: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the indices that ``--gpus`` selects: empty for all, ``None`` for none. Raises UserError for a GPU that does not exist."""
    if asked == NONE or (asked == AUTO and not here):
        return None
    if asked == AUTO:
        return ()
    chosen = tuple(word.strip() for word in asked.split(",") if word.strip())
    if not chosen or not all(word.isdigit() for word in chosen):
        raise UserError(f"--gpus: {asked!r} names no GPUs; give auto, none, or indices such as 0,1")
    missing = [word for word in chosen if word not in here]
    if missing:
        there = f"there are {', '.join(here)}" if here else "there is none on this machine"
        raise UserError(f"--gpus: there is no GPU {', '.join(missing)}; {there}")
    return chosen


def direct(asked: str, here: tuple[str, ...]) -> Gpus:
    """Return the GPUs of a cell that runs without a container."""
    chosen = wanted(asked, here)
    if chosen is None:
        return Gpus("none", reason=_none(asked))
    return Gpus("direct", chosen, "the cell runs without a container")


def contained(asked: str, here: tuple[str, ...], info: Mapping[str, Any], *, podman: bool, cdi: bool) -> Gpus:
    """Return the GPUs of a container, by CDI if the machine has a description, or else by docker's ``--gpus``, or else none."""
    chosen = wanted(asked, here)
    if chosen is None:
        return Gpus("none", reason=_none(asked))
    if cdi and (podman or info.get("CDISpecDirs")):
        return Gpus("cdi", chosen, f"the machine has a CDI description of {CDI_KIND}")
    if not podman and "nvidia" in (info.get("Runtimes") or {}):
        return Gpus("--gpus", chosen, "docker has the nvidia runtime and does not support CDI")
    reason = f"the machine has a GPU, but the engine cannot give it to a container: there is no CDI description of {CDI_KIND} that the engine supports"
    reason += "" if podman else ", and docker has no nvidia runtime"
    if asked != AUTO:
        raise UserError(f"--gpus: {reason}; `nvidia-ctk cdi generate` creates one")
    return Gpus("none", reason=reason)


def _none(asked: str) -> str:
    return "--gpus none" if asked == NONE else "no GPU was found on this machine"
