"""The machine, its accelerator and its CPUs against what this QEMU and this host have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import Obstacle
from qsup.spec.problem import nearest, printable
from qsup.spec.tables.machine import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.facts import HostFacts
    from qsup.preflight.obstacle import Plan
    from qsup.spec.model import GuestSpec

SHOWN: Final = 8
"""Names of a list that a sentence holds."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """KVM, the machine type, the CPU model and its features, the number of vCPUs."""
    spec, facts = plan.spec, plan.facts
    if spec.machine.accel is Accel.KVM and not facts.kvm:
        why = facts.kvm_trouble or "KVM does not work"
        yield Obstacle(("machine", "accel"), f'{why}; or write accel = "tcg" or "auto"')
    if not facts.has_machine(spec.machine.type):
        near = nearest(spec.machine.type, facts.machines)
        yield Obstacle(("machine", "type"), f'{facts.binary} has no machine type "{spec.machine.type}"{near}')
    yield from _model(spec, facts)
    yield from _count(plan)


def _model(spec: GuestSpec, facts: HostFacts) -> Iterator[Obstacle]:
    accel = Accel.KVM if facts.kvm and spec.machine.accel is not Accel.TCG else Accel.TCG
    if spec.machine.accel is Accel.KVM and accel is Accel.TCG:
        return
    model = "max" if spec.cpu.model == "host" and accel is Accel.TCG else spec.cpu.model
    lacking = facts.cpu_lacks(accel, model)
    if lacking is None:
        near = nearest(model, facts.cpus[accel])
        yield Obstacle(("cpu", "model"), f'{facts.binary} has no CPU model "{model}"{near}')
    elif lacking:
        names = [printable(name[:40]) for name in lacking[:SHOWN]]
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        yield Obstacle(
            ("cpu", "model"),
            f"under {accel} this host cannot give {model} these features, and the guest goes without: "
            f"{', '.join(names)}{more}",
            fatal=False,
        )


def _count(plan: Plan) -> Iterator[Obstacle]:
    spec = plan.spec
    # The machine that the guest keeps may have room for fewer vCPUs than what its alias means today.
    machine = plan.facts.machines.get(plan.made.machine)
    most, key = spec.cpu.most, "count" if spec.cpu.max is None else "max"
    if machine is not None and most > machine.max_cpus:
        told = f"{most} vCPUs are more than the {machine.max_cpus} of machine type {machine.name}"
        yield Obstacle(("cpu", key), told)
        return
    there = len(os.sched_getaffinity(0))
    if spec.cpu.count > there:
        told = f"{spec.cpu.count} vCPUs on {there} CPU{'s' * (there != 1)} of this host: they wait for each other"
        yield Obstacle(("cpu", "count"), told, fatal=False)
