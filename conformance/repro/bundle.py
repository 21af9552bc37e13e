"""Bundles: a script that contains the modules of the suite that one case needs, and runs the case with its own check."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import pprint
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import conformance
from conformance import programs
from conformance.checks import interpreter
from conformance.checks.catalogue import Case, catalogue

_ROOT = Path(conformance.__file__).parent
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Date of every file in the bundle, so that the same sources give the same script."""
_ALWAYS = ("conformance.repro.inside", "conformance.execution.probe")
_WIDTH = 120
_TEXT = '''
import base64
import io
import shutil
import sys
import tempfile
import zipfile

CASE = {case}


def main():
    """Unpack the suite's modules into a folder that goes away again, and run the case by them."""
    if sys.version_info < (3, 10):
        print("cannot be run here: this needs Python 3.10 or newer")
        return 2
    folder = tempfile.mkdtemp(prefix="conformance-repro-")
    try:
        unpack(folder)
        sys.path.insert(0, folder)
        from conformance.repro.inside import run

        return run(CASE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# {count} modules of the suite as they are, zipped: {root}.
# `python -c "import SCRIPT; SCRIPT.unpack('folder')"` writes them out to be read.
MODULES = """
{data}
"""


def unpack(folder):
    """Write the modules out."""
    zipfile.ZipFile(io.BytesIO(base64.b85decode("".join(MODULES.split())))).extractall(folder)


if __name__ == "__main__":
    sys.exit(main())
'''


def how(case: Case) -> str:
    """Return a description of what the script does."""
    details = catalogue()[case.invariant].details
    alone = "runs the suite's own check of this case, whose modules it carries, in a process of its own"
    return f"{alone}. {details}" if details else f"{alone}."


def body(case: Case) -> str:
    """Return the script without its head."""
    names = modules(case)
    return _TEXT.format(
        case=pprint.pformat(case.to_json(), sort_dicts=False, width=100),
        count=len(names),
        root=catalogue()[case.invariant].check.__module__,
        data=_folded(base64.b85encode(_zipped(names)).decode()),
    ).lstrip()


def _folded(data: str) -> str:
    return "\n".join(data[start : start + _WIDTH] for start in range(0, len(data), _WIDTH))


def modules(case: Case) -> tuple[str, ...]:
    """Return the modules that a case needs, with all modules of this suite that they import, also inside functions."""
    invariant = catalogue()[case.invariant]
    checks = (invariant, *(catalogue()[name] for name in invariant.repeats))
    needed = _closure((*_ALWAYS, *(each.check.__module__ for each in checks), *_within("conformance.adapters")))
    return _closure((*needed, *_within(programs.__name__))) if interpreter.__name__ in needed else needed


def _within(package: str) -> tuple[str, ...]:
    """Return the modules of a package. Adapters and programs are loaded by name, so imports do not show them."""
    folder = _path(package).parent
    return tuple(f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__")


@lru_cache(maxsize=256)
def _closure(roots: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = None
        waiting += _imports(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
    return tuple(sorted(found))


@lru_cache(maxsize=512)
def _imports(name: str) -> tuple[str, ...]:
    """Return the modules of this suite that a module imports."""
    path = _path(name)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    named = _named(ast.walk(ast.parse(path.read_text(encoding="utf-8"))), package)
    return tuple(dict.fromkeys(each for each in named if each.split(".")[0] == "conformance" and _is_module(each)))


def _named(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Yield dotted names in import statements; for ``from a import b`` both ``a`` and ``a.b``, because either may be a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_module(name: str) -> bool:
    return _path(name).exists()


def _path(name: str) -> Path:
    inside = _ROOT.joinpath(*name.split(".")[1:])
    return inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")


def _zipped(names: Iterable[str]) -> bytes:
    """Return the modules and the data files that they read, zipped."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in names:
            _add(file, _path(name))
        _add(file, _ROOT / "protocols" / "clauses.json")
    return buffer.getvalue()


def _add(file: zipfile.ZipFile, path: Path) -> None:
    entry = zipfile.ZipInfo(path.relative_to(_ROOT.parent).as_posix(), _EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, path.read_bytes())
