"""Hand-over of the producer's own object between two streams, by a public call of the consumer."""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import Protocol
from conformance.adapters.calls import UserCall

from .handover import Forward, Setting


class Natively(Forward):
    """A :class:`Forward` hand-over in which the consumer's call gets the producer's own object. The producer's stream is current."""

    def __init__(self, setting: Setting, call: UserCall) -> None:
        self._call = call
        super().__init__(setting)

    def offer(self) -> Any:
        """Return the object itself."""
        return self.setting.producer.native(self.array, self._call.protocol or Protocol.DLPACK)

    def _taken_from(self, offer: Any) -> Any:
        consumer = self.setting.consumer
        return consumer.operable(self._call.take(consumer, offer, self.setting.device))
