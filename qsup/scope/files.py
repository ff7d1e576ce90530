"""A guest's limits as files of a cgroup (the kernel's document on cgroup v2). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.spec.tables.limits import Limits

PERIOD: Final = 100_000
"""Microseconds over which the kernel's scheduler keeps a quota."""
USUAL: Final = {
    "cpu.weight": "100",
    "cpu.max": f"max {PERIOD}",
    "cpuset.cpus": "",
    "cpuset.mems": "",
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "io.weight": "default 100",
    "pids.max": "max",
}
"""What stands in each file where nothing is limited."""
_IO: Final = {
    "rbps": "read_bandwidth_max",
    "wbps": "write_bandwidth_max",
    "riops": "read_iops_max",
    "wiops": "write_iops_max",
}
Write = tuple[str, str]
"""A file and what to write to it."""


def of_limits(limits: Limits, devices: Mapping[str, str]) -> list[Write]:
    """What to write for the limits that are set; ``devices`` are the block devices (``8:0``) below the disks."""
    return [*_files(limits).items(), *(("io.max", line) for line in _io(limits, devices).values())]


def between(old: Limits, new: Limits, devices: Mapping[str, str]) -> list[Write]:
    """What to write to turn limits into others; what is not set any more is taken back."""
    before, after = _files(old), _files(new)
    written = [(file, after.get(file, USUAL[file])) for file in USUAL if before.get(file) != after.get(file)]
    limited, now = _io(old, devices), _io(new, devices)
    for device in limited | now:
        line = now.get(device, f"{device} {' '.join(f'{key}=max' for key in _IO)}")
        if limited.get(device) != line:
            written.append(("io.max", line))
    return written


def _files(limits: Limits) -> dict[str, str]:
    quota = limits.cpu_quota
    found = {
        "cpu.weight": limits.cpu_weight,
        "cpu.max": None if quota is None else f"{quota * PERIOD // 100} {PERIOD}",
        "cpuset.cpus": limits.allowed_cpus,
        "cpuset.mems": limits.allowed_memory_nodes,
        "memory.max": _number(limits.memory_max),
        "memory.high": _number(limits.memory_high),
        "memory.swap.max": _number(limits.memory_swap_max),
        "io.weight": None if limits.io_weight is None else f"default {limits.io_weight}",
        "pids.max": limits.tasks_max,
    }
    return {file: str(value) for file, value in found.items() if value is not None}


def _number(value: int | None) -> int | None:
    return None if value is None else int(value)


def _io(limits: Limits, devices: Mapping[str, str]) -> dict[str, str]:
    """The line for each device; a rate that is not limited is said, so that one from before is gone."""
    lines = {}
    for disk, declared in limits.disk.items():
        if disk in devices:
            rates = _rates(getattr(declared, field) for field in _IO.values())
            lines[devices[disk]] = f"{devices[disk]} {' '.join(rates)}"
    return lines


def _rates(values: Iterator[int | None]) -> Iterator[str]:
    return (f"{key}={'max' if value is None else int(value)}" for key, value in zip(_IO, values, strict=True))
