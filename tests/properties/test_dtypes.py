"""The table of element types: name, code and letters lead to one type each, and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conformance.protocols import cai
from conformance.protocols.dtypes import DTYPES, NATIVE_ORDER, DType, dtype, from_dlpack, from_typestr

from .drawing import element
from .strategies import KINDS, drawn, examples, typestrs

TEXTS = typestrs | st.text(alphabet=f"<>|={KINDS}0123456789", max_size=5) | st.text(max_size=4)


@examples
@given(drawn(element), drawn(element))
def test_two_types_share_neither_name_nor_code_nor_letters(first: DType, second: DType) -> None:
    """Whichever two are compared."""
    if first is not second:
        assert first.name != second.name
        assert (first.code, first.bits) != (second.code, second.bits)
        assert first.typestr is None or first.typestr != second.typestr
    for kind in (first, second):
        assert dtype(kind.name) is kind is from_dlpack(int(kind.code), kind.bits)
        assert kind.typestr is None or from_typestr(kind.typestr) is kind
        assert kind.typestr is None or cai.typestr_bytes(kind.typestr) == kind.itemsize


@examples
@given(st.integers(0, 255), st.integers(0, 255))
def test_code_and_bits_name_one_type_or_none(code: int, bits: int) -> None:
    """Both have to fit."""
    fitting = [kind for kind in DTYPES.values() if (kind.code, kind.bits) == (code, bits)]
    assert [from_dlpack(code, bits)] == (fitting or [None])


@examples
@given(TEXTS)
def test_letters_name_the_type_that_they_spell_or_none(text: str) -> None:
    """Kind and width are the type's own, and the byte order is the machine's where there is one."""
    found = from_typestr(text)
    if found is not None and found.typestr is not None:
        assert text[1:] == found.typestr[1:]
        assert found.itemsize == 1 or text[0] in ("|", "=", NATIVE_ORDER)
