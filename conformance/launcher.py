"""Run a module of this copy of the package: ``python …/conformance/launcher.py MODULE ARGUMENT…``.

``python -m`` uses the first ``conformance`` in the path, and the working folder comes first there. The suite starts
this file by its own path instead and adds nothing to ``sys.path``, so ``import`` finds libraries exactly as it does for
the user.
"""

import sys

if __name__ == "__main__" and not (
    sys.flags.isolated or getattr(sys.flags, "safe_path", False)
):  # 3.10 has no safe_path
    del sys.path[0]  # the folder of this file: its modules are not top-level modules

import importlib.util
import os
import runpy

PACKAGE = "conformance"
ANSWERS = "CONFORMANCE_ANSWERS"
"""Name of the variable, as in ``checks/environment_variables.py``."""


def load(folder: str) -> None:
    """Import the package from this folder, even if a sitecustomize has already imported it or another of that name."""
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
        os.set_inheritable(int(answers), False)  # otherwise a program that a library starts keeps the pipe open
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
