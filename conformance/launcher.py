"""Run a module of this very copy of the package: ``python …/conformance/launcher.py MODULE ARGUMENT…``.

``python -m`` takes the first ``conformance`` in the path, and the folder that it runs in stands in front of the path. This file is
started by its own path instead, and nothing is added to the path: libraries are found where ``import`` finds them for the user.
"""

import sys

if __name__ == "__main__" and not (
    sys.flags.isolated or getattr(sys.flags, "safe_path", False)
):  # 3.10 has no safe_path
    del sys.path[0]  # the folder of this file, whose modules are none of their own

import importlib.util
import os
import runpy

PACKAGE = "conformance"
ANSWERS = "CONFORMANCE_ANSWERS"
"""As in ``suite/surroundings.py``."""


def load(folder: str) -> None:
    """Import the package from this folder, whatever else has its name. A sitecustomize may have imported it already, or another one."""
    file = os.path.join(folder, "__init__.py")
    if PACKAGE in sys.modules and _is_same(getattr(sys.modules[PACKAGE], "__file__", None), file):
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(PACKAGE, file, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def _is_same(file: object, other: str) -> bool:
    return isinstance(file, str) and os.path.exists(file) and os.path.samefile(file, other)


if __name__ == "__main__":
    load(os.path.dirname(os.path.abspath(__file__)))
    answers = os.environ.get(ANSWERS)
    if answers:
        os.set_inheritable(int(answers), False)  # a program that a library starts would keep it open
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
