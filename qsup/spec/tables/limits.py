"""What a guest may take of the host. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, Identifier, Section, about, form, within
from qsup.spec.numbers import Numbers, trouble
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

_SLICE: Final = form(
    r"^[A-Za-z0-9:_.\\]+(-[A-Za-z0-9:_.\\]+){0,15}\.slice$(?!\n)",
    'a slice is named like "production.slice", or "production-web.slice" for one within it',
)
Weight = Annotated[int, Meta(ge=1, le=10000)]
Operations = Annotated[int, Meta(ge=1, le=10**12)]
LEAST_MEMORY: Final = "16 MiB"
"""No QEMU can do with less."""
MOST_MEMORY: Final = "4096 TiB"
CONTROLLERS: Final = {
    "cpu-weight": "cpu",
    "cpu-quota": "cpu",
    "allowed-cpus": "cpuset",
    "memory-max": "memory",
    "memory-high": "memory",
    "memory-swap-max": "memory",
    "allowed-memory-nodes": "cpuset",
    "io-weight": "io",
    "disk": "io",
    "tasks-max": "pids",
}
"""What a cgroup keeps, and the kernel's controller for it; all else is done to the processes themselves."""
DISK_KEYS: Final = ("read_bandwidth_max", "write_bandwidth_max", "read_iops_max", "write_iops_max")


class NumaPolicy(StrEnum):
    """Where the kernel takes a process's memory from: the policies of set_mempolicy(2), in systemd's words."""

    DEFAULT = "default"
    PREFERRED = "preferred"
    BIND = "bind"
    INTERLEAVE = "interleave"
    LOCAL = "local"

    @property
    def wants_nodes(self) -> bool:
        """Whether it is about nodes that have to be named."""
        return self in {NumaPolicy.PREFERRED, NumaPolicy.BIND, NumaPolicy.INTERLEAVE}


class DiskLimits(Section, frozen=True, kw_only=True):
    """Limits for what all of the guest's processes do with the block device on which a disk lies: `[limits.disk.ID]`."""

    read_bandwidth_max: Annotated[
        Size | None, about("Bytes read a second: systemd's `IOReadBandwidthMax=`.")
    ] = None
    write_bandwidth_max: Annotated[
        Size | None, about("Bytes written a second: systemd's `IOWriteBandwidthMax=`.")
    ] = None
    read_iops_max: Annotated[Operations | None, about("Reads a second: systemd's `IOReadIOPSMax=`.")] = None
    write_iops_max: Annotated[Operations | None, about("Writes a second: systemd's `IOWriteIOPSMax=`.")] = (
        None
    )

    def wrong(self) -> Iterator[Finding]:
        """A table that limits nothing, and rates at which nothing would move."""
        if all(getattr(self, key) is None for key in DISK_KEYS):
            yield (), "limits nothing; write read-bandwidth-max, or one of the others"
        for key in ("read-bandwidth-max", "write-bandwidth-max"):
            value = getattr(self, key.replace("-", "_"))
            if value is not None:
                yield from within(key, value, "4 KiB", "1024 TiB")


class Limits(Section, frozen=True, kw_only=True):
    """What the guest may take of the host: its QEMU and helpers, together. A change holds at once, without a restart, but for `slice` and NUMA policy."""

    cpu_weight: Annotated[
        Weight | None,
        about("Its share of the CPUs beside others of its slice, 100 being usual: systemd's `CPUWeight=`."),
    ] = None
    cpu_quota: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        about(
            "CPU time that it may use, in percents of one CPU, `200` being two CPUs' whole time: systemd's `CPUQuota=`."
        ),
    ] = None
    allowed_cpus: Annotated[
        Numbers | None, about("The host CPUs that it may run on: systemd's `AllowedCPUs=`.")
    ] = None
    memory_max: Annotated[
        Size | None,
        about(
            "Memory that it may use, beyond which the kernel ends it (`out-of-memory`): systemd's `MemoryMax=`. QEMU needs some beside the guest's; pages of hugetlbfs do not count."
        ),
    ] = None
    memory_high: Annotated[
        Size | None,
        about("Memory beyond which it is slowed down and made to give some back: systemd's `MemoryHigh=`."),
    ] = None
    memory_swap_max: Annotated[
        Size | None, about("Swap that it may use; `0 B` is none: systemd's `MemorySwapMax=`.")
    ] = None
    allowed_memory_nodes: Annotated[
        Numbers | None,
        about("The host's NUMA nodes that it may have memory of: systemd's `AllowedMemoryNodes=`."),
    ] = None
    numa_policy: Annotated[
        NumaPolicy,
        about(
            "Where the kernel takes its memory from, as systemd's `NUMAPolicy=`; what `[numa.ID]` says of a node of the guest goes before. Holds from the next start."
        ),
    ] = NumaPolicy.DEFAULT
    numa_mask: Annotated[
        Numbers | None,
        about(
            "The host's nodes that `numa-policy` is about: systemd's `NUMAMask=`. Holds from the next start."
        ),
    ] = None
    io_weight: Annotated[
        Weight | None,
        about("Its share of the disks beside others of its slice, 100 being usual: systemd's `IOWeight=`."),
    ] = None
    disk: dict[Identifier, DiskLimits] = {}
    tasks_max: Annotated[
        Annotated[int, Meta(ge=8, le=4194304)] | None,
        about(
            "Processes and threads that it may have: systemd's `TasksMax=`. QEMU has one for each vCPU and some more, up to 64 at times for each disk."
        ),
    ] = None
    oom_score_adjust: Annotated[
        Annotated[int, Meta(ge=-1000, le=1000)] | None,
        about(
            "How readily the kernel ends it when the host has no memory left; -1000 is never: systemd's `OOMScoreAdjust=`."
        ),
    ] = None
    slice: Annotated[
        Annotated[str, _SLICE, Meta(max_length=200)] | None,
        about(
            "The slice of systemd that its scope is in; without it, `qsup.slice`. Holds from the next start."
        ),
    ] = None

    @property
    def in_cgroup(self) -> bool:
        """Whether anything is limited that a cgroup keeps."""
        return any(self.asks_for(key) for key in CONTROLLERS)

    def asks_for(self, key: str) -> bool:
        """Whether a key of ``CONTROLLERS`` is set."""
        return getattr(self, key.replace("-", "_")) not in (None, {})

    def wrong(self) -> Iterator[Finding]:
        """Sets of numbers that are none, sizes that nothing could live with, and a policy without nodes."""
        for key in ("allowed-cpus", "allowed-memory-nodes", "numa-mask"):
            text = getattr(self, key.replace("-", "_"))
            if text is not None and (why := trouble(text)):
                yield (key,), why
        for key, value in (("memory-max", self.memory_max), ("memory-high", self.memory_high)):
            if value is not None:
                yield from within(key, value, LEAST_MEMORY, MOST_MEMORY)
        if (
            self.memory_max is not None
            and self.memory_high is not None
            and self.memory_high > self.memory_max
        ):
            yield ("memory-high",), f"{self.memory_high} is more than memory-max, {self.memory_max}"
        if self.numa_policy.wants_nodes and self.numa_mask is None:
            yield ("numa-mask",), f'is missing; numa-policy = "{self.numa_policy}" needs it'
        elif self.numa_mask is not None and not self.numa_policy.wants_nodes:
            yield ("numa-mask",), 'needs a numa-policy: "bind", "preferred" or "interleave"'
