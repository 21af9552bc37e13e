"""Faults of state: memory exported as if it held the elements."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.reference.exporter import Exporter

from . import fault


@fault("state.resolved-or-refused", bugs="dtype-05 dtype-14 capsule-21 lifetime-25")
class PendingIgnored(Exporter):
    """An array whose elements are still to be computed is exported as it lies in memory."""

    def check_pending(self) -> None:
        """Nothing is looked at."""


@fault("state.resolved-or-refused", bugs="capsule-02")
class PendingIsAnError(Exporter):
    """An array whose elements are still to be computed is refused with an exception that means a defect."""

    def check_pending(self) -> None:
        """As if it had been forgotten about."""
        if self.pending:
            raise AssertionError("pending")


@fault("state.refusal-releases", bugs="capsule-27")
class RefusedArraysKept(Exporter):
    """Each refused export leaves a reference to the array behind."""

    kept: ClassVar[list[Any]] = []

    def check_pending(self) -> None:
        """Remembered, then refused."""
        if self.pending:
            self.kept.append(self)
        super().check_pending()


@fault("state.refusal-releases", bugs="capsule-27")
class LastErrorKept(Exporter):
    """The last refusal is kept for whoever asks for it, and with its traceback the array."""

    last: ClassVar[BufferError | None] = None

    def check_pending(self) -> None:
        """Refused, then remembered."""
        try:
            super().check_pending()
        except BufferError as error:
            type(self).last = error
            raise
