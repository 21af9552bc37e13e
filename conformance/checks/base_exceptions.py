"""Exceptions of libraries that do not derive from ``Exception``, so that ``except Exception`` does not catch them.

Examples are Rust panics, and a library that raises ``SystemExit``. Such an exception would end the process. So :meth:`Exchange.step` replaces
it by an ``Exception``, which the checks can judge.
"""

from __future__ import annotations

import signal


class Escaped(Exception):
    """Replaces an exception that does not derive from ``Exception``. Its class has the name of the original class."""


def stand_in(error: BaseException) -> Escaped | None:
    """Return the replacement for an exception of a library.

    Return ``None`` for an ``Exception``, and for an exception that the library did not raise: ``KeyboardInterrupt`` if the user can press
    Ctrl-C, and the exceptions by which pytest ends its own tests.
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
        return f"(no text: `__str__` raises {type(second).__name__})"
