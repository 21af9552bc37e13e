"""A run is never a success if an installed library was not tested because its adapter or its import fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Command, Finished
from libraries import install

from conformance.adapters.base import Adapter, Device
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment, Library, Side
from conformance.execution import accusations, plan, probe
from conformance.execution.untested import untested
from conformance.exits import Exit
from conformance.selftest.make_believe.installing import announce

SMALL = ("--device", "host", "--tier", "quick", "--family", "pointer")
ENDS = {
    "quits": "import sys; sys.exit(0)",
    "exits": "import os; os._exit(0)",
    "raises": "raise type('Panic', (BaseException,), {})('no')",
    "lacks": "import nobody_has_this",
}


def told(done: Finished) -> str:
    """Return the output of a command with its line breaks removed."""
    return " ".join(done.stdout.split())


def ending(folder: Path, name: str) -> Path:
    """Install a package whose adapter module ends the process on import."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_module.py").write_text(ENDS[name] + "\n")
    announce(folder, name, f"{name}_module:Adapter")
    return folder


def test_an_adapter_that_ends_its_process_leaves_everything_else_to_run(conformance: Command, tmp_path: Path) -> None:
    """The run tests all other libraries, but it is not a success."""
    for name in ENDS:
        ending(tmp_path / "site", name)
    install(tmp_path / "site", "sound")
    done = conformance("check", *SMALL, path=tmp_path / "site")
    assert done.code == Exit.INCOMPLETE, done.stderr
    assert any("sound" in record["id"] for record in done.results)
    assert f"{len(ENDS)} installed libraries were not tested: " in told(done)
    for name in ENDS:
        assert f"{name} (adapter not to be trusted: " in told(done)
    assert "PASS" not in done.stdout
    assert conformance("report", str(done.out)).code == Exit.INCOMPLETE


@pytest.mark.parametrize("command", ["explain", "repro"])
def test_reading_commands_import_no_adapter_of_others(command: str, conformance: Command, tmp_path: Path) -> None:
    """The adapter's module would end the command silently with exit code 0."""
    path = ending(tmp_path / "site", "exits")
    done = conformance(command, "pointer.values/reference-reference/dlpack/host/c-order/float32", path=path)
    assert done.code == Exit.OK
    assert "pointer.values" in done.stdout


def test_judging_imports_no_adapter_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite does not provide the array interface of such a library."""
    monkeypatch.syspath_prepend(ending(tmp_path / "site", "raises"))
    accusations.own_exporter.cache_clear()
    assert accusations.own_exporter("raises") == ""


def broken(folder: Path, *names: str) -> Path:
    """Install packages that shadow the installed ones and fail to import."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('lib{name}.so is damaged')\n")
    return folder


def test_libraries_that_cannot_be_loaded_are_no_success(conformance: Command, tmp_path: Path) -> None:
    """Only the reference is tested, with itself; one sentence gives the reason and the remedy."""
    path = broken(tmp_path / "site", "numpy", "torch", "jax")
    done = conformance("check", *SMALL, path=path)
    assert done.code == Exit.INCOMPLETE
    assert "no library was tested, only the reference with itself, because of " in told(done)
    assert "numpy (installed, and cannot be loaded: ImportError: libnumpy.so is damaged)" in told(done)
    assert "repair or reinstall" in told(done)
    assert "PASS" not in done.stdout


def test_one_library_that_cannot_be_loaded_is_no_success_either(conformance: Command, tmp_path: Path) -> None:
    """The other libraries are tested, and the message names the broken one."""
    path = broken(install(tmp_path / "site", "sound"), "torch")
    done = conformance("check", *SMALL, path=path)
    assert done.code == Exit.INCOMPLETE
    assert "torch (installed, and cannot be loaded: ImportError: libtorch.so is damaged)" in told(done)


def test_the_reference_alone_is_no_success(conformance: Command) -> None:
    """The result does not depend on the reason for testing only the reference."""
    done = conformance("check", *SMALL, "--between", "reference")
    assert done.code == Exit.INCOMPLETE
    assert "no library was tested, only the reference with itself; install" in told(done)


def test_canaries_alone_are_a_success_that_claims_nothing_of_a_library(conformance: Command) -> None:
    """Canaries test the run itself."""
    done = conformance("check", "--device", "host", "--case", "canary.passes/reference-reference/dlpack/host/alone")
    assert (done.code, "no library was tested" in told(done)) == (Exit.OK, True), done.stdout + done.stderr


# -- from the environment and the plan alone

SIDE = Side((), (), (), ())
ON_HOST = Case("pointer.values", "reference", "numpy", "dlpack", Device.HOST)
ON_CUDA = Case("pointer.values", "reference", "torch", "dlpack", Device.CUDA)
NUMPY = Library("numpy", {"numpy": "2"}, sides={Device.HOST: SIDE})
TORCH = Library("torch", {"torch": "2"}, sides={Device.HOST: SIDE}, unusable={"cuda": "built without CUDA"})
CUPY = Library(
    "cupy", {"cupy": "14"}, absent="installed, and cannot be loaded: no libcuda", unusable={"cuda": "no libcuda"}
)
MISSING = Library("jax", {}, absent="not installed (jax or jaxlib)")


def test_a_laptop_without_a_gpu_is_a_success() -> None:
    """A library that needs a GPU is reported but is no fault; a library that is not installed is ignored."""
    found = untested(Environment((NUMPY, TORCH, CUPY, MISSING)), [ON_HOST])
    assert not found.is_incomplete
    assert [gap.name for gap in found.elsewhere] == ["cupy"]


def test_a_device_on_which_the_run_has_cases_counts_for_every_library_that_supports_it() -> None:
    """On a machine with a GPU the same environment counts as not completely tested."""
    found = untested(Environment((NUMPY, TORCH, CUPY, MISSING)), [ON_HOST, ON_CUDA])
    assert [gap.name for gap in found.unusable] == ["torch on cuda", "cupy"]
    assert found.is_incomplete
    assert not found.elsewhere


def test_a_library_that_is_named_and_has_nothing_on_the_device_is_a_mistake() -> None:
    """The run would otherwise test the reference alone."""
    environment = Environment((NUMPY, TORCH))
    with pytest.raises(plan.BadSelection, match="numpy has no arrays on cuda here; it has arrays on host"):
        plan.restrict(environment, plan.Selection(devices=(Device.CUDA,), between=("numpy",)))
    with pytest.raises(
        plan.BadSelection, match=r"torch has no arrays on cuda here \(built without CUDA\); it has arrays on host"
    ):
        plan.restrict(environment, plan.Selection(devices=(Device.CUDA,), between=("torch",)))


def made(tmp_path: Path, load: str, versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return the probed library for an adapter with this ``load()``."""
    site = install(tmp_path / "site", "stripes", load=load)
    (site / "there.py").write_text("import nobody_has_this\n")
    module = site / "stripes_module.py"
    module.write_text(module.read_text() + f"\n    def versions(self):\n        return {versions!r}\n")
    monkeypatch.syspath_prepend(site)
    try:
        return probe.probe("stripes")
    finally:
        sys.modules.pop("stripes_module", None)
        sys.modules.pop("there", None)


@pytest.mark.parametrize(
    ("load", "versions", "absent"),
    [
        ("import nobody_has_this", {}, "not installed (stripes-library)"),
        ("import nobody_has_this", {"stripes-library": "1"}, "installed, and cannot be loaded: ModuleNotFoundError"),
        ("import there", {}, "installed, and cannot be loaded: ModuleNotFoundError"),
        ("raise ImportError('libx.so')", {}, "installed, and cannot be loaded: ImportError: libx.so"),
        ("raise RuntimeError('no')", {}, "installed, and cannot be loaded: RuntimeError: no"),
    ],
)
def test_only_what_is_not_there_is_not_installed(
    load: str, versions: dict[str, str], absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed library may fail to import, with or without metadata."""
    found = made(tmp_path, load, versions, monkeypatch)
    assert found.absent is not None
    assert found.absent.startswith(absent)
    assert set(found.unusable) == (set() if absent.startswith("not installed") else {"host"})


def test_a_library_of_several_distributions_is_not_installed_without_the_one_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch installs a part of CUDA Python, which does not count as an installation of CUDA Python."""
    monkeypatch.setattr(Adapter, "needs", ("core", "library"))
    found = made(tmp_path, "import nobody_has_this", {"library": "1"}, monkeypatch)
    assert (found.absent, found.unusable) == ("not installed (core)", {})
