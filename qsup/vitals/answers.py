"""What QEMU's answers say about its vCPUs and disks. Pure; what is not as it should be says nothing."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

SERVED: Final = (
    "irq_injections",
    "irq_window_exits",
    "request_irq_exits",
    "halt_exits",
    "io_exits",
    "mmio_exits",
    "hypercalls",
    "nested_run",
)
"""KVM's counters that move only if the guest does something, or is interrupted.

Not among them: ``exits``, of which the host's own timer makes some and each question of ours another; NMIs, and
``halt_wakeup``, which count what knocks at a guest that hangs as well.
"""
INTERRUPT_FLAG: Final = 1 << 9
VCPU_LIMIT: Final = 4096

_REGISTERS: Final = re.compile(r"^[ER]IP=([0-9a-f]{8,16}) [ER]FL=([0-9a-f]{8}) .* HLT=([01])", re.MULTILINE)


class Registers(NamedTuple):
    """What matters of a vCPU's registers."""

    address: int
    interrupts: bool
    halted: bool


class _Cpu(msgspec.Struct, rename="kebab"):
    cpu_index: int
    thread_id: int


class _Operations(msgspec.Struct):
    rd_operations: int = 0
    wr_operations: int = 0
    flush_operations: int = 0
    unmap_operations: int = 0
    failed_rd_operations: int = 0
    failed_wr_operations: int = 0


class _Disk(msgspec.Struct):
    stats: _Operations


class _Stat(msgspec.Struct):
    name: str
    value: Any


class _Stats(msgspec.Struct):
    stats: list[_Stat]


def run_state(answer: object) -> str | None:
    """The run state, out of ``query-status``."""
    state = answer.get("status") if isinstance(answer, dict) else None
    return state[:40] if isinstance(state, str) else None


def vcpu_threads(answer: object) -> list[tuple[int, int]]:
    """Index and thread of each vCPU, out of ``query-cpus-fast``."""
    try:
        cpus = msgspec.convert(answer, list[_Cpu])
    except msgspec.ValidationError:
        return []
    return [(cpu.cpu_index, cpu.thread_id) for cpu in cpus[:VCPU_LIMIT]]


def registers(answer: object) -> Registers | None:
    """A vCPU's registers, out of ``info registers``."""
    found = _REGISTERS.search(answer) if isinstance(answer, str) else None
    if found is None:
        return None
    return Registers(int(found[1], 16), bool(int(found[2], 16) & INTERRUPT_FLAG), found[3] == "1")


def served(answer: object) -> int | None:
    """The sum of KVM's counters over all vCPUs, out of ``query-stats``; None without any."""
    try:
        vcpus = msgspec.convert(answer, list[_Stats])
    except msgspec.ValidationError:
        return None
    values = [stat.value for vcpu in vcpus for stat in vcpu.stats if stat.name in SERVED]
    known = [value for value in values if isinstance(value, int)]
    return sum(known) if known else None


def disk_requests(answer: object) -> int | None:
    """How many requests all disks have had, out of ``query-blockstats``."""
    try:
        disks = msgspec.convert(answer, list[_Disk])
    except msgspec.ValidationError:
        return None
    return sum(sum(msgspec.structs.astuple(disk.stats)) for disk in disks)
