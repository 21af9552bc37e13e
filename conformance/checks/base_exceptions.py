"""Exceptions of libraries that are no ``Exception``: ``except Exception`` lets them through, and a process ends of them.

Rust's panics come as such, and a library that raises ``SystemExit`` ends the program that imports an array. Whoever judges what a
library raises has to see them, so a stand-in that is an ``Exception`` takes their place at the edge of the library's work.
"""

from __future__ import annotations

import signal


class Escaped(Exception):
    """Stands for an exception that is no ``Exception``; its class has the other's name."""


def stand_in(error: BaseException) -> Escaped | None:
    """The exception to raise in place of a library's own; ``None`` for an ``Exception``, and for one that is not the library's.

    Where Ctrl-C raises ``KeyboardInterrupt`` it is the user's; pytest ends its own tests by exceptions of the kind.
    """
    is_pytests = any(kind.__module__.startswith("_pytest.") for kind in type(error).__mro__)
    if is_pytests or isinstance(error, (Exception, GeneratorExit)):
        return None
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return None
    kind: type[Escaped] = type(type(error).__name__, (Escaped,), {})
    text = " ".join(text_of(error).split())
    return kind(f"{text}; `except Exception` does not catch it" if text else "`except Exception` does not catch it")


def text_of(error: BaseException) -> str:
    """Return the text of an exception. If ``str()`` of it raises, the text says so."""
    try:
        return str(error)
    except BaseException as second:
        return f"(its text cannot be had: `__str__` raises {type(second).__name__})"
