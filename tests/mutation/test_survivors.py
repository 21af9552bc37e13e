"""What mutation testing says of the mutants that survive."""

from __future__ import annotations

import pytest

from .survivors import Change, Mistake, change_of, chosen_of, function_of, read_explanations, table, tally

DIFF = """# a.b.x_f__mutmut_1: survived
--- a.py
+++ a.py
@@ -1,3 +1,3 @@
 def f(x):
-    return x + 1
+    return x - 1
"""
CHANGE = Change("a.b", "f", ("return x + 1",), ("return x - 1",))
BLOCK = "a.b f\n- return x + 1\n+ return x - 1\nwhy: nobody\n  can tell\n"


@pytest.mark.parametrize(
    ("name", "function"),
    [("a.b.x_f__mutmut_12", ("a.b", "f")), ("a.xǁClassǁ__init____mutmut_1", ("a", "Class.__init__"))],
)
def test_a_mutants_name_says_where_it_is(name: str, function: tuple[str, str]) -> None:
    """Module and function, or class and method."""
    assert function_of(name) == function


def test_a_mutant_is_what_its_diff_changes() -> None:
    """Without the lines around, and wherever it is indented to."""
    assert change_of("a.b.x_f__mutmut_1", DIFF) == CHANGE


def test_explanations_are_read_with_their_reasons() -> None:
    """Comments belong to nobody, and a reason may be longer than a line."""
    assert read_explanations(f"# a comment\n\n{BLOCK}\n# another\n") == {CHANGE: "nobody can tell"}


@pytest.mark.parametrize(
    "block",
    ["a.b f\n- x\n+ y\n", "a.b f\n- x\n+ y\nwhy:\n", "a.b\n- x\n+ y\nwhy: so\n", "a.b f\nwhy: so\n"],
)
def test_an_explanation_without_a_place_a_change_or_a_reason_is_none(block: str) -> None:
    """Every such block is told, with its line."""
    with pytest.raises(Mistake, match="line 3: a block is") as caught:
        read_explanations(f"# one\n\n{block}\n{BLOCK}\nanother\n")
    assert str(caught.value).count("a block is") == 2


def test_no_change_is_explained_twice() -> None:
    """One of the two reasons would never be missed."""
    with pytest.raises(Mistake, match="line 7: this change is explained twice"):
        read_explanations(f"{BLOCK}\n{BLOCK}")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('fail("it is not", x)', 'fail("XXit is notXX", x)', True),
        ('fail("shape", x)', 'fail("XXshapeXX", x)', False),
        ('fail("it is not", x)', "fail(None, x)", False),
        ('fail(f"is {x + 1} so", "and so")', 'fail(f"is {x - 1} so", "and so")', False),
        ('fail(f"is {x}", "and so")', 'fail(f"is {x}", "AND SO")', True),
        ('fail("it is not", x)', 'fail("IT IS NOT", y)', False),
    ],
)
def test_only_the_words_of_a_sentence_do_not_matter(before: str, after: str, words: bool) -> None:
    """A key is no sentence, a sentence that is not there is no wording, and what an f-string computes is code."""
    assert Change("a", "f", (before,), (after,)).only_words is words


def test_modules_are_chosen_by_name_by_path_or_by_the_end_of_a_name() -> None:
    """All of them without a word."""
    known = ["conformance.cli", "conformance.protocols.cai"]
    assert chosen_of(known, []) == known
    for word in ("cai", "protocols.cai", "conformance.protocols.cai", "conformance/protocols/cai.py"):
        assert chosen_of(known, [word]) == known[1:]
    with pytest.raises(Mistake, match=r"ai is no module of the judging code; there are conformance\.cli, "):
        chosen_of(known, ["ai"])


def test_every_mutant_is_counted_once() -> None:
    """As noticed, as wording, as explained, or as one that survives; what was never tried survives too."""
    names = {f"a.b.x_f__mutmut_{n}": status for n, status in enumerate(("killed", "timeout", "survived", "no tests"))}
    words = Change("a.b", "f", ('"so so"',), ('"SO SO"',))
    changes = {"a.b.x_f__mutmut_2": CHANGE, "a.b.x_f__mutmut_3": words}
    assert table(tally(names, changes, [CHANGE])).splitlines()[-1] == "| `a.b` | 4 | 2 | 1 | 1 | 0 |"
    unexplained = tally({**names, "a.b.x_g__mutmut_1": "not checked"}, {**changes, "a.b.x_g__mutmut_1": CHANGE}, [])
    assert table(unexplained).splitlines()[-1] == "| `a.b` | 5 | 2 | 1 | 0 | 2 |"
    assert [name for name, _ in unexplained["a.b"].survivors] == [
        "a.b.x_f__mutmut_2: survived",
        "a.b.x_g__mutmut_1: not checked",
    ]
