"""What an adapter hands to a consumer: an array behind one protocol."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import CAIOffer, Device, DLPackOffer, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols.dtypes import dtype

WAYS_IN = (
    "__dlpack__", "__dlpack_device__", "__dlpack_c_exchange_api__", "__c_dlpack_exchange_api__",
    "__cuda_array_interface__", "__array_interface__", "__array_struct__", "__array__", "__buffer__",
    "__cuda_stream__", "__len__", "__iter__", "__getitem__", "__index__", "__float__",
)  # fmt: skip
"""Every attribute by which some consumer may take an object in."""
OWN = {
    Protocol.DLPACK: {"__dlpack__", "__dlpack_device__"},
    Protocol.CAI: {"__cuda_array_interface__"},
}


class Everything:
    """An array that offers whatever is asked for."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: name


class Failing:
    """An array whose protocols raise."""

    def __dlpack__(self, **keywords: Any) -> Any:
        raise LookupError("no capsule today")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    @property
    def __cuda_array_interface__(self) -> Any:
        raise LookupError("no dictionary today")


def wrap(array: Any, protocol: Protocol) -> Any:
    """The array behind this protocol."""
    return DLPackOffer(array) if protocol is Protocol.DLPACK else CAIOffer(array)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_an_offer_shows_exactly_one_protocol(protocol: Protocol) -> None:
    """A consumer that would rather go another way finds none, so that a case tests what its id says (D13)."""
    offer = wrap(Everything(), protocol)
    assert {name for name in WAYS_IN if hasattr(offer, name)} == OWN[protocol]


@pytest.mark.parametrize("protocol", list(Protocol))
def test_an_adapter_offers_its_arrays_behind_one_protocol(protocol: Protocol) -> None:
    """The reference's arrays have both protocols; what it hands out has the one that was asked for."""
    adapter = ReferenceAdapter()
    array = adapter.array(dtype("uint8"), (3,), bytes(3), Device.SIMULATED)
    offer = adapter.offer(array, protocol)
    assert {name for name in WAYS_IN if hasattr(offer, name)} == OWN[protocol]


def test_a_capsule_is_asked_for_with_the_consumers_arguments() -> None:
    """They reach the producer unchanged and are remembered."""
    adapter = ReferenceAdapter()
    array = adapter.array(dtype("uint8"), (3,), bytes(3), Device.HOST)
    offer = adapter.offer(array, Protocol.DLPACK)
    assert isinstance(offer, DLPackOffer)
    offer.__dlpack__(stream=None, max_version=(1, 0))
    assert offer.calls == [((), {"stream": None, "max_version": (1, 0)})]
    assert array.log.dlpack[0].keywords == {"stream": None, "max_version": (1, 0)}


@pytest.mark.parametrize("protocol", list(Protocol))
def test_what_the_producer_raises_passes_through_and_is_remembered(protocol: Protocol) -> None:
    """So that a refusal is put down to the side that refused."""
    offer = wrap(Failing(), protocol)
    with pytest.raises(LookupError) as raised:
        offer.__dlpack__() if protocol is Protocol.DLPACK else offer.__cuda_array_interface__
    assert offer.raised is raised.value
