"""Those of the suite's invariants that hold for any array, tried with arrays that no plan has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.exchange import Exchange, Partners, Source
from conformance.checks.layouts import Layout
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Refused
from conformance.execution import probe
from conformance.protocols.dtypes import DType

from . import exchanges
from .drawing import Window, chosen, element, stepped, window

Fits = Callable[[Layout, DType], bool]


def _any(form: Layout, kind: DType) -> bool:
    return True


def _has_elements(form: Layout, kind: DType) -> bool:
    return form.view.size > 0


def _is_apart(form: Layout, kind: DType) -> bool:
    """What is written through one element is not read through another."""
    return form.view.size > 0 and isinstance(form, Window) and form.apart


def _is_packed(form: Layout, kind: DType) -> bool:
    return form.view.size > 0 and form.view.contiguous


def _is_empty(form: Layout, kind: DType) -> bool:
    return form.view.size == 0


def _is_packed_and_spoken(form: Layout, kind: DType) -> bool:
    """The array interface has a letter for it."""
    return _is_packed(form, kind) and kind.kind is not None


FITTING: dict[Fits, str] = {
    _any: """
        cai.required-keys cai.form cai.host-absent cai.unknown-keys cai.mask capsule.name capsule.exception-in-flight
        capsule.renamed capsule.second-import capsule.dies-before-the-view capsule.struct-untouched
        context.fresh-thread device.reported-empty device.kept device.memory-kind
        dtype.exchange dtype.export dtype.typestr dtype.sub-byte-export dtype.sub-byte-import dtype.unknown dtype.foreign-order
        dtype.structured dtype.special-typestr exchange-api.table exchange-api.export exchange-api.holds-nothing exchange-api.borrow
        exchange-api.current-stream exchange-api.allocate layout.capsule-strides layout.interface-strides
        layout.unit-strides-export layout.import-strides layout.unit-strides-import layout.contiguity layout.rank
        layout.refusal-says-why lifetime.deleter-once lifetime.other-thread lifetime.failed-import lifetime.failed-export
        lifetime.native-thread lifetime.temporary lifetime.owner-released lifetime.chain
        negotiation.version negotiation.defined-flags negotiation.host-stream negotiation.cuda-stream
        negotiation.ambiguous-stream negotiation.device-report negotiation.keyword-call negotiation.version-request
        negotiation.stream-request negotiation.older-producer negotiation.producer-error negotiation.missing-method
        negotiation.capsule-name negotiation.newer-minor negotiation.unknown-device negotiation.precedence
        pointer.same-address pointer.values pointer.imports-apart pointer.copy-true
        pointer.copy-false-elsewhere pointer.misaligned pointer.byte-offset pointer.byte-offset-passed-on
        readonly.export readonly.legacy-export readonly.writable-export readonly.accepted readonly.import
        readonly.writable-import readonly.legacy-import readonly.re-export state.resolved-or-refused state.refusal-releases
    """,
    _has_elements: """
        cai.device-address device.reported exchange-api.import negotiation.copied-flag negotiation.signature negotiation.device-argument
        negotiation.bad-arguments pointer.view-export pointer.memory-behind pointer.copy-false
    """,
    _is_apart: "pointer.producer-write-seen pointer.consumer-write-seen pointer.imports-alias pointer.chain",
    _is_packed: "capsule.unconsumed capsule.many-exports capsule.used-is-inert layout.null-strides",
    _is_packed_and_spoken: "cai.optional-keys cai.versions layout.stride-forms dtype.self-import",
    _is_empty: "cai.empty-address layout.empty-export",
}
"""Which arrays an invariant holds for. The others ask for arrays of their own making, or take long."""
JUDGES: tuple[tuple[str, Fits], ...] = tuple((name, fits) for fits, names in FITTING.items() for name in names.split())


class Judged(Exchange):
    """A case of the plan with another layout and element type."""

    def __init__(self, case: Case, form: Layout, kind: DType) -> None:
        super().__init__(case, Partners(lambda name: exchanges.LIBRARY))
        self._form, self._kind = form, kind

    @property
    def layout(self) -> Layout:
        """The one that was drawn."""
        return self._form

    @property
    def dtype(self) -> DType:
        """The one that was drawn."""
        return self._kind

    def make(self, *args: object, form: Layout | None = None, **keywords: object) -> Source:
        """A window is laid over a packed block."""
        made = super().make(*args, form=form, **keywords)  # type: ignore[arg-type]
        wanted = form or self._form
        if isinstance(wanted, Window):
            made.array.view = wanted.view
        return made

    def __repr__(self) -> str:
        return f"{self.case.id} of {self._kind.name} with {self._form}"


@cache
def planned(device: Device) -> dict[str, tuple[Case, ...]]:
    """The cases on a device that each of these invariants has for the reference with itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(probe.SIMULATE, "1")
        environment = Environment((probe.probe("reference"),))
    known = catalogue()
    drafts = {name: tuple(known[name].cases(environment)) for name, _ in JUDGES}
    return {name: found for name, cases in drafts.items() if (found := tuple(c for c in cases if c.device is device))}


def draw(chance: Random, devices: tuple[Device, ...]) -> Judged:
    """A judge, and an array that it can judge."""
    cases = planned(chance.choice(devices))
    name, fits = chance.choice([(name, fits) for name, fits in JUDGES if name in cases])
    case = chance.choice(cases[name])
    while True:
        form = window(chance) if chosen(chance, 0.6) else stepped(chance)
        kind = element(chance)
        if fits(form, kind):
            return Judged(case, form, kind)


def judge(exchange: Judged) -> None:
    """A flawless partner may refuse; whatever else is raised accuses it."""
    with suppress(Refused):
        catalogue()[exchange.case.invariant].check(exchange)
