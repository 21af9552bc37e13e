"""Faults of lazy states: memory is exported although it does not hold the elements yet."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.reference.exporter import Exporter

from . import fault


@fault("state.resolved-or-refused", bugs="dtype-05 dtype-14 capsule-21 lifetime-25")
class PendingIgnored(Exporter):
    """Exports an array in a lazy state (such as a conjugate view) as its memory is, without resolving the elements."""

    def check_pending(self) -> None:
        """Skip the check."""


@fault("state.resolved-or-refused", bugs="capsule-02")
class PendingIsAnError(Exporter):
    """Refuses to export an array in a lazy state with ``AssertionError``, which signals a bug in the library."""

    def check_pending(self) -> None:
        if self.pending:
            raise AssertionError("pending")


@fault("state.refusal-releases", bugs="capsule-27")
class RefusedArraysKept(Exporter):
    """Keeps a reference to the array after each refused export."""

    kept: ClassVar[list[Any]] = []

    def check_pending(self) -> None:
        if self.pending:
            self.kept.append(self)
        super().check_pending()


@fault("state.refusal-releases", bugs="capsule-27")
class LastErrorKept(Exporter):
    """Stores the last refusal together with its traceback, which keeps the array alive."""

    last: ClassVar[BufferError | None] = None

    def check_pending(self) -> None:
        try:
            super().check_pending()
        except BufferError as error:
            type(self).last = error
            raise
