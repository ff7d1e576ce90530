"""What `[limits]` asks of this host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import Obstacle
from qsup.proc.kernel import read
from qsup.scope.device import device_of
from qsup.spec.numbers import numbers, spelled
from qsup.spec.tables.memory import MemoryBackend
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan
    from qsup.spec.model import GuestSpec

ONLINE: Final = {"allowed-cpus": "cpu", "allowed-memory-nodes": "node", "numa-mask": "node"}
SYSTEM: Final = "/sys/devices/system"
BESIDE: Final = 96 << 20
"""Bytes that a QEMU needs beside its guest's memory, roughly, and what each vCPU adds."""
A_VCPU: Final = 4 << 20
CAP_SYS_RESOURCE: Final = 24


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Limits that nothing here would keep, sets of what is not there, and memory that cannot be enough."""
    spec = plan.spec
    if plan.ground is not None:
        yield from (Obstacle(path, why) for path, why in plan.ground.lacks(spec))
    yield from _online(spec)
    yield from _memory(spec)
    yield from _devices(spec)
    yield from _oom_score(spec)


def _online(spec: GuestSpec) -> Iterator[Obstacle]:
    for key, what in ONLINE.items():
        text = getattr(spec.limits, key.replace("-", "_"))
        there = read(f"{SYSTEM}/{what}/online")
        if text is None or not there:
            continue
        missing = numbers(text) - numbers(there)
        if missing:
            noun = "CPU" if what == "cpu" else "NUMA node"
            yield Obstacle(("limits", key), f"this host has no {noun} {spelled(missing)}; it has {there}")


def _memory(spec: GuestSpec) -> Iterator[Obstacle]:
    memory, limits = spec.memory, spec.limits
    if memory.page_size is not None or memory.backend is MemoryBackend.FILE:
        # Pages of hugetlbfs are no cgroup's, and others may use the same file.
        return
    least = int(memory.size) + BESIDE + spec.cpu.count * A_VCPU
    told = f"the guest's {memory.size} and QEMU's own need about {Size(least >> 20 << 20)}"
    if limits.memory_max is not None and limits.memory_max < least:
        at_once = (memory.prealloc or memory.lock) and limits.memory_max < memory.size
        then = "QEMU cannot start" if at_once else "the kernel ends QEMU when the guest uses all that it has"
        yield Obstacle(
            ("limits", "memory-max"), f"{limits.memory_max} is not enough: {told}; {then}", at_once
        )
    elif limits.memory_high is not None and limits.memory_high < least:
        then = "the guest is slowed down when it uses all that it has"
        yield Obstacle(
            ("limits", "memory-high"), f"{limits.memory_high} is little: {told}; {then}", fatal=False
        )


def _devices(spec: GuestSpec) -> Iterator[Obstacle]:
    """Limits of disks are limits of the devices below them."""
    owners: dict[str, str] = {}
    for disk in spec.limits.disk:
        file = spec.disk[disk].file if disk in spec.disk else None
        if file is None:
            continue
        path = ("limits", "disk", disk)
        try:
            device = device_of(file if os.path.exists(file) else os.path.dirname(file))
        except OSError as error:
            yield Obstacle(path, f"{file}: {error.strerror}; use [throttle] instead, which QEMU keeps")
            continue
        if owners.setdefault(device, disk) != disk:
            told = f"{file} lies on the same device ({device}) as that of disk.{owners[device]}"
            yield Obstacle(path, f"{told}, and limits hold for a device; write them for one of the two")


def _oom_score(spec: GuestSpec) -> Iterator[Obstacle]:
    wanted = spec.limits.oom_score_adjust
    own = read("/proc/self/oom_score_adj")
    if wanted is None or not own or wanted >= int(own):
        return
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    if not int(status.get("CapEff", "0"), 16) >> CAP_SYS_RESOURCE & 1:
        told = f"{wanted} is less than this process's own {own}, for which CAP_SYS_RESOURCE is missing"
        yield Obstacle(("limits", "oom-score-adjust"), told)
