"""A lock is read line by line, and all that is wrong in it is said at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.exits import UserError
from conformance.matrix import lockfile
from conformance.matrix.lockfile import Pin

LOCK = """\
# made by a tool
numpy==2.3.5 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
Pygments==2.21.0 --hash=sha256:cc  # via pytest
"""


def test_pins_have_canonical_names_and_sorted_hashes(tmp_path: Path) -> None:
    """What the same lock may be written like does not make it another lock."""
    (tmp_path / "cell.txt").write_text(LOCK)
    pins = lockfile.read(tmp_path / "cell.txt")
    assert pins == (Pin("numpy", "2.3.5", ("sha256:aa", "sha256:bb")), Pin("pygments", "2.21.0", ("sha256:cc",)))


def test_what_is_written_is_what_is_read() -> None:
    """A pin's text is a requirement with hashes; digests stay in their order."""
    pins = lockfile.pins(LOCK)
    assert pins[0].hashes == ("sha256:bb", "sha256:aa")
    assert lockfile.pins("\n".join(map(str, pins))) == pins


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("numpy>=2 --hash=sha256:aa", "'numpy>=2' is not one exact version (NAME==VERSION)"),
        ("numpy==2.* --hash=sha256:aa", "'numpy==2.*' is not one exact version (NAME==VERSION)"),
        ("numpy==2.3.5", "'numpy==2.3.5' has no hash"),
        ("-r other.txt", "'-r other.txt' is not a requirement"),
        ("numpy==2.3.5 --hash=md5:aa", "'numpy==2.3.5' has a hash that is not SHA-256"),
        ("numpy==2.3.5 --hash=sha256:aa --hash=md5:aa", "'numpy==2.3.5' has a hash that is not SHA-256"),
        (
            "numpy[all]==2.3.5 --hash=sha256:aa",
            "'numpy[all]==2.3.5' has an extra or a marker; a lock file contains no conditions",
        ),
    ],
)
def test_only_exact_versions_with_hashes_are_taken(line: str, sentence: str) -> None:
    """Anything else could install something else tomorrow."""
    assert lockfile.parsed(f"\n{line}\n") == ((), [(2, sentence)])
    with pytest.raises(lockfile.NoLock, match=re.escape(sentence)):
        lockfile.pins(line)


def test_all_mistakes_of_a_lock_are_said_with_file_and_line(tmp_path: Path) -> None:
    """One run is enough to mend them."""
    path = tmp_path / "cell.txt"
    path.write_text("numpy\n\ncupy==1\nnumpy==1 --hash=sha256:a\nnumpy==2 --hash=sha256:a\n")
    with pytest.raises(UserError) as told:
        lockfile.read(path)
    assert [line.split(": ")[0] for line in str(told.value).splitlines()] == [f"{path}:{n}" for n in (1, 3, 5)]


def test_an_empty_or_absent_lock_is_a_mistake(tmp_path: Path) -> None:
    """An image of nothing would prove nothing."""
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for name in ("empty.txt", "absent.txt"):
        with pytest.raises(UserError, match="nox -s lock"):
            lockfile.read(tmp_path / name)
