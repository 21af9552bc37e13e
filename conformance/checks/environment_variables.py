"""Environment variables of child processes: the user's, except those that affect the suite's own processes.

All other variables stay. ``LD_LIBRARY_PATH``, ``CUDA_…``, ``PYTHONHOME``, ``PYTHONNOUSERSITE``, ``PYTHONHASHSEED``,
``PYTHONUTF8``, ``PYTHONMALLOC`` and others decide how libraries are imported and behave. The suite tests libraries in
the user's configuration.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

CANDIDATES = "CONFORMANCE_CANDIDATES"
"""Environment variable with the folders at the front of the path (``execution/candidates.py``)."""
ANSWERS = "CONFORMANCE_ANSWERS"
"""Environment variable with the descriptor for a child's answers."""
STARTUP = "startup"
"""Name of the folder with the ``sitecustomize`` that hides the distributions that candidates replace."""
_PATH = "PYTHONPATH"
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_PYTHONS = "PYTHON"

_DUMP = "each crash on the GPU would leave a file with its memory"

TAKEN_OUT = {
    "PYTHONOPTIMIZE": "it takes away docstrings, of which the catalogue is made, and assertions",
    "PYTHONINSPECT": "at its end a process would read commands, and end with another exit code",
    "PYTHONSTARTUP": "it belongs to the interpreter at the keyboard",
    "PYTHONWARNINGS": "it makes exceptions of warnings, and they would be held against the library that warns",
    "PYTHONDEVMODE": "it prints warnings that the library's users do not see, and replaces the memory allocator",
    "PYTHONIOENCODING": "the processes of a run read each other's output as UTF-8",
    "PYTHONVERBOSE": "it drowns the last words of a process that dies",
    "PYTHONPROFILEIMPORTTIME": "it drowns the last words of a process that dies",
    "PYTHONDUMPREFS": "it drowns the last words of a process that dies",
    "PYTHONDUMPREFSFILE": "every process would write over the same file",
    "PYTHONMALLOCSTATS": "it drowns the last words of a process that dies",
    "PYTHON_COLORS": "tracebacks are evidence, and hold no codes for terminals",
    "FORCE_COLOR": "tracebacks are evidence, and hold no codes for terminals",
    "EXECNET_DEBUG": "the workers of pytest would write into a file of the shared folder for temporary files",
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION": _DUMP,
    "CUDA_ENABLE_LIGHTWEIGHT_COREDUMP": _DUMP,
    "CUDA_ENABLE_CPU_COREDUMP_ON_EXCEPTION": _DUMP,
    ANSWERS: "it holds for one process, and not for those that this one starts",
}
"""Variables that children do not inherit, with the reason."""
_TAKEN_OUT_BEGIN = ("PYTEST_", "_PYTEST_", "PY_COLORS")
"""Prefixes of variables that children do not inherit: pytest settings must not change how the suite collects cases."""


def variables(around: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the environment of a child, based on that of this process."""
    kept = {name: value for name, value in around.items() if _is_kept(name)}
    path = [os.path.abspath(folder) for folder in (*_front(around), *_given(around))]
    kept.pop(_PATH, None)
    if path:
        kept[_PATH] = os.pathsep.join(dict.fromkeys(path))
    if sys.flags.no_user_site:
        kept["PYTHONNOUSERSITE"] = "1"
    return {**kept, **_temporary(kept), **more}


def candidates(around: Mapping[str, str]) -> list[str]:
    """Return the folders of the candidates in this cell."""
    return folders(around, CANDIDATES)


def folders(around: Mapping[str, str], variable: str) -> list[str]:
    """Return the folders that a variable names. Empty entries, which mean the current folder, are left out."""
    return [path for path in around.get(variable, "").split(os.pathsep) if path]


def _is_kept(name: str) -> bool:
    """Return whether a child inherits the variable. Under ``-E`` or ``-I`` Python's own variables are dropped."""
    if name in TAKEN_OUT or name.startswith(_TAKEN_OUT_BEGIN):
        return False
    return not (sys.flags.ignore_environment and name.startswith(_PYTHONS))


def _given(around: Mapping[str, str]) -> list[str]:
    """Return the user's path, as this interpreter uses it."""
    given = folders(around, _PATH)
    return [folder for folder in given if folder in sys.path] if sys.flags.ignore_environment else given


def _front(around: Mapping[str, str]) -> list[str]:
    found = candidates(around)
    return [str(Path(__file__).with_name(STARTUP)), *found] if found else []


def _temporary(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for temporary folders as absolute paths, because a child runs in another folder."""
    return {name: os.path.abspath(kept[name]) for name in _TEMPORARY if kept.get(name)}
