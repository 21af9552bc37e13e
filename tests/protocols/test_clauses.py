"""The clauses that invariants cite, what breaking them means, and the language that they are written in."""

from __future__ import annotations

import re
from itertools import chain

import pytest

from conformance.protocols import clauses
from conformance.protocols.clauses import LIBRARY, UNSIDED, Clause, Duty, Level, NotBound, Role, all_clauses, clause

CLAUSES = all_clauses()
EACH = pytest.mark.parametrize("each", CLAUSES, ids=lambda each: each.id)
EACH_DUTY = pytest.mark.parametrize(
    "duty", [pytest.param(d, id=f"{c.id}-{who}") for c in CLAUSES for who, d in c.duties.items()]
)
MODALS = ("must", "should", "may")
"""The words that bind, in the order of their strength."""
WORDS = 25
"""Of a sentence, at most."""
SENTENCES = 3
"""Of a duty, at most."""
ADDRESSLESS: dict[str, str] = {}
"""Clauses whose sources have no public address, and why."""
LIBRARIES = {
    "cvcuda", "cupy", "torch", "pycuda", "cuda_python", "numpy", "jax", "numba_cuda", "warp", "nvimgcodec", "tvm_ffi",
}  # fmt: skip
"""Publishers of documents, under the names that their adapters have or would have."""
NAMES = {
    "cvcuda": "CV-CUDA", "cupy": "CuPy|cupy", "torch": "PyTorch", "pycuda": "PyCUDA", "cuda_python": "cuda.core",
    "numpy": "NumPy", "jax": "JAX", "numba_cuda": "Numba-CUDA", "warp": "Warp", "nvimgcodec": "nvImageCodec",
    "tvm_ffi": "tvm-ffi",
}  # fmt: skip


def _sentences(text: str) -> list[str]:
    """A full stop ends one where the next begins with a capital or with code."""
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", text)


def _sources() -> dict[str, dict[str, str]]:
    sources: dict[str, dict[str, str]] = clauses._text()["sources"]
    return sources


# -- what is there


def test_there_are_clauses() -> None:
    """All of them, each once."""
    assert len({each.id for each in CLAUSES}) == len(CLAUSES) > 200


@EACH
def test_a_clause_says_of_whom_and_how_strongly_it_asks(each: Clause) -> None:
    """Roles, the library whose document it is, the user or nobody; keywords that have a level."""
    assert each.duties
    assert each.duties.keys() <= {*(role.value for role in Role), LIBRARY, *UNSIDED}
    assert LIBRARY not in each.duties or len(each.duties) == 1
    assert {duty.level for duty in each.duties.values()} <= set(Level)


@EACH
def test_what_binds_nobody_is_a_fact_or_left_open(each: Clause) -> None:
    """And a documented promise is a library's."""
    for who, duty in each.duties.items():
        assert (duty.keyword in ("fact", "grey")) == (who == "nobody") or who == LIBRARY
        assert (duty.keyword == "documented") <= (who == LIBRARY)
        assert who != LIBRARY or duty.keyword in ("documented", "fact")


@EACH
def test_every_clause_has_an_address(each: Clause) -> None:
    """Or is known to have none."""
    assert bool(each.urls) != (each.id in ADDRESSLESS)
    assert all(url.startswith("https://") for url in each.urls)


@EACH
def test_every_part_of_a_source_begins_with_a_document(each: Clause) -> None:
    """So that its address is found."""
    assert all(part.split()[0] in _sources() for part in each.source.split(";"))


def test_every_document_is_cited_and_has_a_title() -> None:
    """None is left over; the title tells nothing of who read it or when."""
    cited = {part.split()[0] for each in CLAUSES for part in each.source.split(";")}
    assert cited == set(_sources())
    for source in _sources().values():
        assert source["title"]
        assert not re.search(r"@[0-9a-f]{7}|retriev|\bread\b|\bseen\b", source["title"])


@EACH
def test_a_library_is_bound_by_its_own_document(each: Clause) -> None:
    """The publisher is a name of the adapters, and the subject of the sentences."""
    assert each.publisher in {"", *LIBRARIES}
    if LIBRARY in each.duties:
        assert each.publisher
        assert re.search(NAMES[each.publisher], _sentences(each.statement)[0])


# -- how it is written


@EACH_DUTY
def test_a_duty_uses_its_own_keyword_and_no_other(duty: Duty) -> None:
    """Who reads the text knows the level; what binds nobody uses none."""
    keyword = duty.keyword.removesuffix("*")
    used = {word for word in MODALS if re.search(rf"\b{word}\b", duty.text)}
    assert used == ({keyword} if keyword in MODALS else set())


@EACH_DUTY
def test_a_duty_is_a_few_short_sentences(duty: Duty) -> None:
    """That begin with a capital or with code, and end with a full stop."""
    sentences = _sentences(duty.text)
    assert len(sentences) <= SENTENCES
    assert not re.search(r"[.!?]\s+[a-z(]", duty.text)
    for sentence in sentences:
        assert re.match(r"[A-Z`]", sentence)
        assert sentence.endswith(".")
        assert len(sentence.split()) <= WORDS


@EACH_DUTY
def test_a_duty_has_no_private_notes(duty: Duty) -> None:
    """No arrows, no predictions, no keys of the table of sources, no brackets that interrupt."""
    assert not re.search("[→⇒…≥≤≠]|Predicted|predicted|Suite|suite|\\bU\\b", duty.text)
    assert not [key for key in _sources() if re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", duty.text)]
    assert "(" not in re.sub(r"`[^`]*`", "", duty.text).replace("ExternalStream(0)", "")
    assert duty.text.count("`") % 2 == 0


_ACTORS = {
    "producer": r"A producer|A deleter|The device in a capsule|(The|A) functions? of the table|`__\w+__`",
    "consumer": r"A consumer|`from_dlpack`",
    "user": r"A user",
}
"""How a duty begins: with the side itself, or with what it offers."""


@EACH
def test_each_half_is_about_its_own_side(each: Clause) -> None:
    """The actor is the subject, and no half repeats the other."""
    assert len({duty.text for duty in each.duties.values()}) == len(each.duties)
    for who, duty in each.duties.items():
        assert re.match(_ACTORS.get(who, ""), duty.text)


# -- what breaking it means


def test_an_unknown_clause_is_an_error() -> None:
    """A typing mistake must not pass for a clause."""
    with pytest.raises(KeyError):
        clause("DLP-999")


@pytest.mark.parametrize(
    ("id", "level"),
    [
        ("DLP-43", Level.MUST),
        ("DLP-28", Level.MUST),
        ("DLP-16", Level.MUST),
        ("DLP-60", Level.SHOULD),
        ("DLP-38", Level.MUST),
        ("DLP-61", Level.SHOULD),
        ("CAI-08", Level.SHOULD),
        ("CAI-22", Level.MUST),
        ("CAI-23", Level.SHOULD),
        ("CAI-30", Level.OBSERVED),
        ("G9", Level.OBSERVED),
        ("LIB-09", Level.OBSERVED),
        ("LIB-01", Level.MUST),
    ],
)
def test_the_keyword_decides_the_level(id: str, level: Level) -> None:
    """A starred must is a should, a library's documented promise binds it, grey areas and facts are observed."""
    assert clause(id).level(Role.PRODUCER) is level


def test_a_clause_may_bind_the_two_sides_differently() -> None:
    """The four keywords are a duty of the producer; asking again with fewer is recommended to the consumer."""
    both = clause("DLP-30")
    assert (both.level(Role.PRODUCER), both.level(Role.CONSUMER)) == (Level.MUST, Level.SHOULD)
    assert both.duty(Role.PRODUCER).text != both.duty(Role.CONSUMER).text


@pytest.mark.parametrize(
    ("id", "role"),
    [
        ("DLP-36", Role.PRODUCER),
        ("CAI-19", Role.PRODUCER),
        ("CAI-22", Role.CONSUMER),
        ("CAI-05", Role.CONSUMER),
        ("DLP-60", Role.CONSUMER),
    ],
)
def test_a_clause_is_not_held_against_a_side_that_it_does_not_bind(id: str, role: Role) -> None:
    """It has no level for that side."""
    assert not clause(id).binds(role)
    with pytest.raises(NotBound, match=f"{id} does not bind the {role.value}"):
        clause(id).level(role)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("id", ["G6", "X2", "CUD-01", "CAI-27", "CAI-30"])
def test_what_binds_neither_side_can_be_cited_for_an_observation(id: str, role: Role) -> None:
    """Nothing is broken then."""
    assert not clause(id).binds(role)
    assert clause(id).level(role) is Level.OBSERVED
    assert clause(id).duty(role).text in clause(id).statement


def test_the_read_only_flag_binds_who_publishes_it() -> None:
    """What a consumer does with it is left open."""
    assert clause("CAI-08").binds(Role.PRODUCER)
    assert not clause("CAI-08").binds(Role.CONSUMER)
    assert clause("CAI-08").level(Role.CONSUMER) is Level.OBSERVED


@pytest.mark.parametrize(
    ("library", "level"), [("cupy", Level.MUST), ("torch", Level.SHOULD), ("reference", Level.SHOULD)]
)
def test_a_document_binds_the_library_that_published_it(library: str, level: Level) -> None:
    """To others it is a recommendation; a specification binds all."""
    assert clause("LIB-32").level_for(Role.CONSUMER, library) is level
    assert clause("CAI-32").level_for(Role.CONSUMER, library) is Level.MUST


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (Level.MUST, "violates"),
        (Level.SHOULD, "deviates"),
        (Level.OBSERVED, "observed"),
        (Level.ROBUSTNESS, "robustness"),
    ],
)
def test_each_level_has_a_word_for_its_breach(level: Level, word: str) -> None:
    """The word that reports use."""
    assert level.verdict == word


def test_the_weaker_of_two_levels_counts() -> None:
    """In either order."""
    order = [Level.MUST, Level.SHOULD, Level.OBSERVED, Level.ROBUSTNESS]
    for i, strict in enumerate(order):
        assert {weak.at_most(strict) for weak in order[i:]} == set(order[i:])
        assert all(strict.at_most(weak) is weak for weak in order[i:])


def test_a_statement_has_every_half_once() -> None:
    """Of both sides and of nobody."""
    for each in CLAUSES:
        assert each.statement == " ".join(dict.fromkeys(chain(duty.text for duty in each.duties.values())))
