"""What was read of the guests and the daemon at one moment. Pure.

Whatever is None or missing could not be had: a guest that does not run, a QEMU that does not answer, a kernel that does
not count it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from qsup.histogram import Counted
from qsup.phase import Phase
from qsup.vitals.verdict import Condition

Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Disk(msgspec.Struct, frozen=True):
    """Counters of one disk, called as in ``query-blockstats``; times in nanoseconds."""

    rd_bytes: Count = 0
    rd_operations: Count = 0
    rd_total_time_ns: Count = 0
    failed_rd_operations: Count = 0
    wr_bytes: Count = 0
    wr_operations: Count = 0
    wr_total_time_ns: Count = 0
    failed_wr_operations: Count = 0
    flush_operations: Count = 0
    flush_total_time_ns: Count = 0
    failed_flush_operations: Count = 0
    unmap_bytes: Count = 0
    unmap_operations: Count = 0
    unmap_total_time_ns: Count = 0
    failed_unmap_operations: Count = 0


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What QEMU has told."""

    vcpus: dict[int, int] = {}
    """From a vCPU's index to its thread; under TCG they may share one."""
    disks: dict[str, Disk] = {}
    """By their ids in the guest's file."""
    kvm: dict[str, int] = {}
    """KVM's counters, called as KVM does, over all vCPUs."""
    balloon: int | None = None
    """Bytes that the balloon leaves to the guest."""


class Vcpu(msgspec.Struct, frozen=True):
    """Seconds that the thread of a vCPU has run, and has waited for a CPU of the host."""

    ran: float
    waited: float


class Nic(msgspec.Struct, frozen=True):
    """Counters of one NIC, as the guest sees it: what it receives the host has sent."""

    receive_bytes: int
    receive_packets: int
    receive_drop: int
    receive_errors: int
    transmit_bytes: int
    transmit_packets: int
    transmit_drop: int
    transmit_errors: int


class Cgroup(msgspec.Struct, frozen=True, kw_only=True):
    """The guest's own control group: QEMU and its helpers."""

    memory: int | None = None
    """Bytes."""
    swap: int | None = None
    """Bytes."""
    events: dict[str, int] = {}
    """How often its memory met a limit, called as in ``memory.events``."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel tells of a QEMU."""

    user: float
    """Seconds, those of the guest included."""
    system: float
    guest: float
    """Seconds that KVM has spent in the guest; they are counted in another way, so no difference makes sense."""
    resident: int
    """Bytes."""
    vcpus: dict[int, Vcpu]
    nics: dict[str, Nic]
    cgroup: Cgroup | None


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """One guest."""

    name: str
    phase: Phase
    ready: bool
    wanted: bool
    maintenance: bool
    failures: int
    """Within the window."""
    limit: int
    ready_after: float | None = None
    """Seconds."""
    started: float | None = None
    """When its process was started, wall time in seconds."""
    condition: Condition | None = None
    """Of its process."""
    latency: Counted
    memory: int
    """Bytes that it has been given."""
    machine: str
    accel: str | None = None
    qemu: str | None = None
    answers: Answers | None = None
    process: Process | None = None


class Counters(msgspec.Struct, frozen=True):
    """What the daemon has counted since its start."""

    events: dict[str, int]
    """By their kinds."""
    ends: dict[tuple[str, str], int]
    """Of runs, by guest and cause."""
    restarts: dict[tuple[str, str], int]
    """That followed an end, by guest and cause."""
    troubles: dict[tuple[str, str], int]
    """Of guests that lived, by guest and cause."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: str
    python: str
    problems: int
    """In the configuration."""
    lag: Counted
    counters: Counters
    guests: tuple[Guest, ...]
