"""Which GPUs there are, and by what way an engine hands them to a container. No library is asked: device files and descriptions are read."""

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
    """Indices of the NVIDIA GPUs of this machine."""
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in folder.glob("nvidia*"))
    return tuple(sorted((match[1] for match in found if match), key=int))


def described(folders: Iterable[Path] = CDI_FOLDERS) -> bool:
    """Whether a CDI description of NVIDIA GPUs is there."""
    files = (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))
    return any(
        CDI_KIND in path.read_text(encoding="utf-8", errors="replace")
        for path in files
        if path.suffix in (".yaml", ".yml", ".json")
    )


def wanted(asked: str, here: tuple[str, ...]) -> tuple[str, ...] | None:
    """The indices asked for; empty for all, ``None`` for none. Raises UserError for what is not there."""
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
    """For cells that run on the machine itself."""
    chosen = wanted(asked, here)
    if chosen is None:
        return Gpus("none", reason=_none(asked))
    return Gpus("direct", chosen, "the cell runs on the machine itself")


def contained(asked: str, here: tuple[str, ...], info: Mapping[str, Any], *, podman: bool, cdi: bool) -> Gpus:
    """For containers: CDI where it is described, else docker's own way, else none."""
    chosen = wanted(asked, here)
    if chosen is None:
        return Gpus("none", reason=_none(asked))
    if cdi and (podman or info.get("CDISpecDirs")):
        return Gpus("cdi", chosen, f"there is a CDI description of {CDI_KIND}")
    if not podman and "nvidia" in (info.get("Runtimes") or {}):
        return Gpus("--gpus", chosen, "docker has the nvidia runtime, and takes no CDI description")
    reason = (
        f"the machine has a GPU, but no way into a container: no CDI description of {CDI_KIND} that the engine takes"
    )
    reason += "" if podman else ", and docker has no nvidia runtime"
    if asked != AUTO:
        raise UserError(f"--gpus: {reason}; `nvidia-ctk cdi generate` makes one")
    return Gpus("none", reason=reason)


def _none(asked: str) -> str:
    return "--gpus none" if asked == NONE else "no GPU was found on this machine"
