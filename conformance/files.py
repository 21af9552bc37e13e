"""Files that are written whole or not at all, inside the cells and outside of them alike."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Put this into a file, as UTF-8 where it is text, and see it on the disk.

    Until then the file is what it was. Raises OSError where it cannot be written; nothing is left beside it then, for on a full disk that
    would keep the disk full.
    """
    if not path.name:  # a folder whatever is there: "." or "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
