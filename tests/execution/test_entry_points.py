"""A library that an entry point announces gets every case that its adapter's declarations allow, and is accused by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from libraries import install

SWAPPED = """
    class exporter_class(Exporter):
        def check_dtype(self):
            if not {native}:
                super().check_dtype()

        def fields(self, version, *, copied):
            return replace(super().fields(version, copied=copied), code=2)

    foreign = (
        Foreign(
            "foreign-order", lambda adapter: adapter.empty(DType("float32 of foreign byte order", DLCode.OPAQUE, 32, None), (3,), Device.HOST),
            clause="DLP-12", given="an array of foreign byte order",
        ),
    )
"""
"""A library with numbers of foreign byte order, which it exports as native ones or not at all."""
LAZY = """
    def _lazy(adapter, device, use):
        array = adapter.empty(DType("float32", DLCode.FLOAT, 32, "f"), (3,), device)
        array.pending = True
        use(array, None)

    states = (State("lazy", _lazy, (Device.HOST,)),)
"""
PLANNED = {
    "dtype.unsupported-export/stripes-reference/dlpack/host/foreign-order",
    "dtype.sub-byte-export/stripes-reference/dlpack/host/float4_e2m1fn",
    "state.resolved-or-refused/stripes-reference/dlpack/host/lazy",
    "state.refusal-releases/stripes-reference/dlpack/host/lazy",
}


def test_every_declaration_has_its_cases(conformance: Command, tmp_path: Path) -> None:
    """In the plan of a library that no module of this package names."""
    path = install(tmp_path / "site", "stripes", declared=SWAPPED.format(native=False) + LAZY)
    listed = conformance("list", "--cases", "--between", "stripes", "--family", "dtype,state", path=path)
    assert set(listed.stdout.splitlines()) >= PLANNED, listed.stderr


@pytest.mark.parametrize("native", [True, False])
def test_a_library_that_exports_foreign_byte_order_as_native_is_accused(
    conformance: Command, tmp_path: Path, native: bool
) -> None:
    """Under the clause about byte order; a library that refuses the export is not accused."""
    path = install(tmp_path / "site", "stripes", declared=SWAPPED.format(native=native))
    case = "dtype.unsupported-export/stripes-reference/dlpack/host/foreign-order"
    done = conformance("check", "--between", "stripes", "--case", case, path=path)
    (found,) = (record for record in done.results if record["id"] == case)
    if not native:
        assert (done.code, found["outcome"]) == (0, "pass")
        return
    assert done.code == 1
    assert (found["outcome"], found["clause"], found["accused"]["libraries"]) == ("fail", "DLP-12", ["stripes"])
