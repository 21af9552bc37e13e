"""Which GPUs cells see, and by what way."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.engines import gpus
from conformance.exits import UserError

TWO = ("0", "1")
RUNTIME = {"Runtimes": {"nvidia": {}, "runc": {}}}
CDI = {"CDISpecDirs": ["/etc/cdi"], **RUNTIME}


@pytest.mark.parametrize(
    ("info", "podman", "cdi", "way"),
    [
        (CDI, False, True, "cdi"),
        (RUNTIME, False, True, "--gpus"),
        (RUNTIME, False, False, "--gpus"),
        ({}, False, True, "none"),
        ({}, True, True, "cdi"),
        ({}, True, False, "none"),
    ],
)
def test_cdi_first_then_dockers_own_way_then_none_with_a_reason(
    info: dict[str, object], podman: bool, cdi: bool, way: str
) -> None:
    """Nothing is hidden: a GPU that does not come in is told."""
    found = gpus.contained("auto", TWO, info, podman=podman, cdi=cdi)
    assert found.way == way
    assert found.reason


def test_what_was_asked_for_and_cannot_be_had_is_a_mistake() -> None:
    """Not a run on host memory that looks like one on the GPU."""
    with pytest.raises(UserError, match="cannot give it to a container"):
        gpus.contained("0", TWO, {}, podman=True, cdi=False)
    with pytest.raises(UserError, match="no GPU 2; there are 0, 1"):
        gpus.direct("2", TWO)


def test_no_gpu_and_none_asked_for_are_told_apart() -> None:
    """Both are none."""
    assert gpus.direct("auto", ()).reason == "no GPU was found on this machine"
    assert gpus.direct("none", TWO).reason == "--gpus none"
    assert gpus.direct("1", TWO).ids == ("1",)


def test_gpus_are_found_by_their_device_files(tmp_path: Path) -> None:
    """And by nothing that would have to be loaded."""
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus.present(tmp_path) == ("0", "2", "10")


def test_a_cdi_description_is_one_that_names_nvidia_gpus(tmp_path: Path) -> None:
    """Others may lie beside it."""
    (tmp_path / "other.yaml").write_text("kind: vendor.com/net")
    assert not gpus.described([tmp_path, tmp_path / "none"])
    (tmp_path / "nvidia.json").write_text('{"kind": "nvidia.com/gpu"}')
    assert gpus.described([tmp_path])
