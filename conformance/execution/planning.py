"""First step of every command that plans: probe the environment, and derive its cases from the user's selection."""

from __future__ import annotations

from conformance.adapters import registry
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.exits import UserError

from . import environment, plan
from .environment import Facts

AUTO, HOST, CUDA = "auto", "host", "cuda"
DEVICES = (AUTO, HOST, CUDA)
"""Values of ``--device``. ``AUTO`` stands for every device that this machine supports."""


def on(device: str) -> tuple[Device, ...]:
    """Return the devices for a value of ``--device``."""
    return tuple(Device) if device == AUTO else (Device(device),)


def planned(selection: plan.Selection, device: str) -> tuple[Facts, list[Case]]:
    """Probe the libraries of a selection, and plan its cases. ``device`` is the user's word for ``selection.devices``.

    Raises :class:`UserError` and :class:`~conformance.execution.plan.BadSelection`, each with one sentence for the user.
    """
    plan.check_names(catalogue(), registry.names(), selection)
    names = (REFERENCE, *(n for n in selection.between if n != REFERENCE)) if selection.between else None
    facts = environment.measure(names)
    if device != HOST and environment.UNKNOWN in facts.driver:
        raise UserError(
            f"it is unknown whether this machine has a GPU: {facts.driver[environment.UNKNOWN]}; run the command again, or test "
            "only host memory with --device host"
        )
    if device == CUDA and not facts.driver["available"]:
        raise UserError(f"--device cuda: {facts.driver['reason']}; this machine can only run --device host")
    return facts, plan.make(catalogue(), facts.environment, selection)
