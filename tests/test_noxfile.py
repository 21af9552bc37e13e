"""What the front door adds to the commands behind it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

NOXFILE = Path(__file__).parents[1] / "noxfile.py"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The sessions as plain functions: nox itself need not be here."""

    def session(*given: Any, **_: Any) -> Any:
        return given[0] if given else lambda function: function

    nox = ModuleType("nox")
    vars(nox).update(session=session, Session=object, options=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nox", nox)
    return runpy.run_path(str(NOXFILE))


@pytest.mark.parametrize("code", [0, 20, 23, 27])
def test_the_gate_ends_nox_with_its_own_exit_code(code: int, sessions: dict[str, Any], tmp_path: Path) -> None:
    """Nox makes 1 of every failure, and a release asks which it was. What stands behind `--` reaches the command."""
    program = tmp_path / "cuda-interop-conformance"
    program.write_text(f'#!/bin/sh\n[ "$*" = "gate --run R" ] || exit 99\nexit {code}\n')
    program.chmod(0o755)
    session = SimpleNamespace(bin=str(tmp_path), posargs=["--run", "R"], install=lambda *_: None)
    if code:
        with pytest.raises(SystemExit) as ended:
            sessions["gate"](session)
        assert ended.value.code == code
    else:
        sessions["gate"](session)
