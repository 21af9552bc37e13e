"""The catalogue: the same in every process, whatever was imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.adapters.base import Device
from conformance.suite.catalogue import Case

TOLD = "from conformance.suite.catalogue import catalogue; print(*catalogue())"


@pytest.mark.parametrize("first", ["", "import conformance.suite.test_stream, conformance.suite.test_cai; "])
def test_the_order_of_invariants_does_not_depend_on_what_was_imported_before(first: str) -> None:
    """By family, and within one as they are defined: plans and pages are made in this order."""
    done = subprocess.run([sys.executable, "-c", first + TOLD], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    families = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert names == sorted(names, key=lambda name: families.index(name.partition(".")[0]))
    assert families == sorted(families)


def test_an_id_names_every_library_that_takes_part() -> None:
    """One between producer and consumer stands between them, so that nobody takes the case for an exchange of the two."""
    case = Case("pointer.chain", "torch", "cupy", "dlpack", Device.CUDA, (("via", "cvcuda"), ("layout", "rows")))
    assert (case.id, case.libraries) == (
        "pointer.chain/torch-cvcuda-cupy/dlpack/cuda/rows",
        ("torch", "cvcuda", "cupy"),
    )
    assert Case.from_json(case.to_json()) == case
