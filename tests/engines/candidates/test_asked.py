"""What ``--candidate`` may be given, and what it is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from wheels import make

from conformance.engines.candidates import requests, wheels


def test_a_wheel_or_a_requirement_is_a_candidate(tmp_path: Path) -> None:
    """A wheel under its distribution's name, with or without the CUDA line; a requirement under its own or the same twice."""
    wheel = make(tmp_path, "cvcuda-cu13", "0.20.0", {"cvcuda.py": ""})
    texts = (f"cvcuda={wheel}", f"CVCUDA_cu13={wheel}", "numpy==2.6.0rc1", "cvcuda=cvcuda-cu12>=0.20.0rc1", "torch")
    for text, name, versions in zip(texts, ("cvcuda-cu13", "cvcuda-cu13", "numpy", "cvcuda-cu12", "torch"), ("", "", "==2.6.0rc1", ">=0.20.0rc1", "")):  # fmt: skip
        ((found,), mistakes) = requests.read([text])
        assert (found.name, found.versions, mistakes) == (name, versions, [])
        assert (found.wheel is not None) == text.endswith(".whl")


def test_a_wheel_tells_its_version_and_its_digest(tmp_path: Path) -> None:
    """By which a gate knows it again."""
    wheel = make(tmp_path, "stripes", "1.1")
    found = wheels.read(wheel)
    assert (found.name, found.version, found.file) == ("stripes", "1.1", "stripes-1.1-py3-none-any.whl")
    assert found.sha256 == wheels.digest(wheel)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x y", "neither a wheel nor a requirement"),
        ("numpy=./nowhere.whl", "no such file"),
        ("numpy=2.6.0", "give numpy==2.6.0"),
        ("numpy=torch==2", "asks for torch, not for numpy"),
        ("numpy[all]==2.6", "extras"),
        ("numpy==2.6; python_version>'3'", "markers"),
        ("numpy @ https://example.org/n.whl", "URLs"),
    ],
)
def test_what_is_no_candidate_is_one_sentence(text: str, sentence: str) -> None:
    """With what to give instead."""
    found, (told,) = requests.read([text])
    assert found == []
    assert told.startswith(f"--candidate {text}: ")
    assert sentence in told


def test_a_file_that_is_no_wheel_is_told(tmp_path: Path) -> None:
    """By its name, by its content, by what it holds and by what it is of."""
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "x-1-py3-none-any.whl").write_text("no archive")
    renamed = make(tmp_path, "stripes", "1.1").rename(tmp_path / "stripes-2.0-py3-none-any.whl")
    empty = make(tmp_path, "empty", "1", {"empty-1.data/data/x.txt": ""})
    ours = make(tmp_path, "other", "1", {"conformance/__init__.py": ""})
    _, told = requests.read(
        [
            f"x={tmp_path / 'notes.txt'}",
            f"x={tmp_path / 'x-1-py3-none-any.whl'}",
            f"stripes={renamed}",
            f"empty={empty}",
            f"other={ours}",
            f"numpy={make(tmp_path, 'stripes', '1.2')}",
        ]
    )
    words = ("not that of a wheel", "cannot be read as a wheel", "its metadata names stripes 1.1", "contains no module", "which would replace one of the suite", "contains stripes, not numpy")  # fmt: skip
    assert [word in sentence for word, sentence in zip(words, told, strict=True)] == [True] * 6


def test_a_distribution_is_given_once() -> None:
    """Whatever it is called."""
    _, (told,) = requests.read(["numpy==2.6", "NumPy==2.7"])
    assert "numpy: it is given 2 times" in told


@pytest.mark.parametrize(
    ("tag", "python", "fits"),
    [
        ("py3-none-any", "3.14", True),
        ("cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "3.12", True),
        ("cp312-cp312-linux_x86_64", "3.12", True),
        ("cp312-cp312-linux_x86_64", "3.11", False),
        ("cp310-abi3-manylinux2014_x86_64", "3.13", True),
        ("cp312-cp312-manylinux_2_39_x86_64", "3.12", False),
        ("cp312-cp312-manylinux_2_28_aarch64", "3.12", False),
        ("cp312-cp312-win_amd64", "3.12", False),
        ("py3-none-any", "", True),
        ("cp27-cp27m-linux_x86_64", "", False),
    ],
)
def test_a_wheel_is_for_some_cells_and_not_for_others(tag: str, python: str, fits: bool) -> None:
    """By Python, interface and platform; the sentence names both sides."""
    told = wheels.misfit(f"numpy-1-{tag}.whl", python)
    assert (told == "") is fits
    assert fits or ("is for cp" in told and "the cell has Python" in told)
