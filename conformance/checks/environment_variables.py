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

_DUMP = "each crash on the GPU would write a core file with the GPU's memory"
_NOISE = "its output would hide the last output of a process that crashes"

TAKEN_OUT = {
    "PYTHONOPTIMIZE": "it removes assertions, and the docstrings that the catalogue is built from",
    "PYTHONINSPECT": "a process would read commands at its end, and exit with another code",
    "PYTHONSTARTUP": "it applies to interactive interpreters only",
    "PYTHONWARNINGS": "it can turn a library's warnings into exceptions, which would be reported as failures",
    "PYTHONDEVMODE": "it prints warnings that the library's users do not see, and replaces the memory allocator",
    "PYTHONIOENCODING": "the processes of a run read each other's output as UTF-8",
    "PYTHONVERBOSE": _NOISE,
    "PYTHONPROFILEIMPORTTIME": _NOISE,
    "PYTHONDUMPREFS": _NOISE,
    "PYTHONDUMPREFSFILE": "all processes would overwrite the same file",
    "PYTHONMALLOCSTATS": _NOISE,
    "PYTHON_COLORS": "reports show tracebacks as plain text, without terminal codes",
    "FORCE_COLOR": "reports show tracebacks as plain text, without terminal codes",
    "EXECNET_DEBUG": "the pytest workers would write to a file in the shared temporary folder",
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION": _DUMP,
    "CUDA_ENABLE_LIGHTWEIGHT_COREDUMP": _DUMP,
    "CUDA_ENABLE_CPU_COREDUMP_ON_EXCEPTION": _DUMP,
    ANSWERS: "the descriptor belongs to one process, not to the processes that it starts",
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
