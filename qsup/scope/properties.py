"""A guest's scope and its limits in systemd's words (systemd.scope(5), systemd.resource-control(5)). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qsup.dbus.systemd import Property
from qsup.scope.names import USUAL_SLICE
from qsup.spec.numbers import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.spec.tables.limits import DiskLimits, Limits

UNSET: Final = (1 << 64) - 1
"""Stands for a weight that is not set, and for no limit."""
DAEMON: Final = "qsupd.service"
SHUTDOWN: Final = "qsup-guests.service"
"""What stops all guests as the host goes down: scopes go after it, so that their guests are gone by then."""
BUS: Final = "dbus.service"
"""By which we are told that a scope is to be stopped, and so goes after it, too."""
PERCENT: Final = 10_000
"""Microseconds of CPU time a second that are one percent of a CPU."""
_IO: Final = {
    "IOReadBandwidthMax": "read_bandwidth_max",
    "IOWriteBandwidthMax": "write_bandwidth_max",
    "IOReadIOPSMax": "read_iops_max",
    "IOWriteIOPSMax": "write_iops_max",
}


def of_scope(
    description: str, limits: Limits, disks: Mapping[str, str], controller: str | None, patience: float
) -> list[Property]:
    """What a guest's scope is made with.

    ``controller`` is the name on the bus that is asked before the scope is stopped, which then has ``patience``
    seconds; ``disks`` are the files of the guest's disks.
    """
    made = [
        Property("Description", "s", description),
        Property("Documentation", "as", ["man:qsup(1)"]),
        Property("Slice", "s", limits.slice or USUAL_SLICE),
        Property("CollectMode", "s", "inactive-or-failed"),
        Property("After", "as", [DAEMON, BUS]),
        Property("Before", "as", [SHUTDOWN]),
        Property("TimeoutStopUSec", "t", round(patience * 1_000_000)),
        # The kernel may have ended a helper; what follows from it, qsup decides.
        Property("OOMPolicy", "s", "continue"),
    ]
    if controller is not None:
        made.append(Property("Controller", "s", controller))
    return [*made, *of_limits(limits, disks)]


def of_limits(limits: Limits, disks: Mapping[str, str]) -> list[Property]:
    """The limits that are set."""
    return [one for one in _all(limits, disks) if not _is_unset(one)]


def between(
    old: Limits, new: Limits, disks: Mapping[str, str], everything: Mapping[str, str]
) -> list[Property]:
    """What turns limits into others; what is not set any more is taken back.

    ``everything`` is what the host has for ``AllowedCPUs`` and ``AllowedMemoryNodes``: systemd forgets such a set when
    it is told none, but leaves the cgroup as it was.
    """
    before = {one.name: one for one in _all(old, disks)}
    changed = [one for one in _all(new, disks) if one != before[one.name]]
    return [_taking_back(one, before[one.name], everything) for one in changed]


def _taking_back(now: Property, before: Property, everything: Mapping[str, str]) -> Property:
    if now.signature == "ay" and not now.value:
        return now._replace(value=_bits(everything[now.name]))
    if now.signature == "a(st)":
        # systemd adds to a list: what a device had before stands until it is taken back.
        kept = {path for path, _ in now.value}
        return now._replace(
            value=[*now.value, *([path, UNSET] for path, _ in before.value if path not in kept)]
        )
    return now


def _all(limits: Limits, disks: Mapping[str, str]) -> Iterator[Property]:
    """Every property that a limit can become, in this order."""
    quota = limits.cpu_quota
    yield Property("CPUWeight", "t", _or_unset(limits.cpu_weight))
    yield Property("CPUQuotaPerSecUSec", "t", UNSET if quota is None else quota * PERCENT)
    yield Property("AllowedCPUs", "ay", _bits(limits.allowed_cpus))
    yield Property("MemoryMax", "t", _or_unset(limits.memory_max))
    yield Property("MemoryHigh", "t", _or_unset(limits.memory_high))
    yield Property("MemorySwapMax", "t", _or_unset(limits.memory_swap_max))
    yield Property("AllowedMemoryNodes", "ay", _bits(limits.allowed_memory_nodes))
    yield Property("IOWeight", "t", _or_unset(limits.io_weight))
    yield Property("TasksMax", "t", _or_unset(limits.tasks_max))
    for name, field in _IO.items():
        yield Property(name, "a(st)", [*_io(field, limits.disk, disks)])


def _io(field: str, limits: Mapping[str, DiskLimits], disks: Mapping[str, str]) -> Iterator[list[Any]]:
    for disk, declared in limits.items():
        value = getattr(declared, field)
        if value is not None and disk in disks:
            yield [disks[disk], int(value)]


def _or_unset(value: int | None) -> int:
    return UNSET if value is None else int(value)


def _is_unset(one: Property) -> bool:
    return one.value in (UNSET, b"", [])


def _bits(text: str | None) -> bytes:
    """A set of numbers as systemd takes it: bit N for number N, the lowest byte first."""
    bits = sum(1 << number for number in numbers(text)) if text is not None else 0
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
