"""What `[limits]` and the other tables of one guest ask of each other. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.spec.numbers import numbers, spelled
from qsup.spec.problem import nearest
from qsup.spec.tables.limits import DISK_KEYS, NumaPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding, Path
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.limits import Limits

OWN_THREADS: Final = 4
"""What every QEMU has beside vCPUs and I/O threads: its main loop, RCU, the monitor's thread, a worker."""


def limits(spec: GuestSpec) -> Iterator[Finding]:
    """Disks that are not there, sets that leave others out, and fewer tasks than QEMU has threads."""
    for name in spec.limits.disk:
        if name not in spec.disk:
            yield ("limits", "disk", name), f'there is no disk "{name}"{nearest(name, spec.disk)}'
        elif spec.disk[name].file is None:
            yield ("limits", "disk", name), f"disk.{name} is no file or device of this host"
    yield from _outside("allowed-cpus", spec.limits.allowed_cpus, _pins(spec))
    yield from _outside("allowed-memory-nodes", spec.limits.allowed_memory_nodes, _nodes(spec))
    needed = spec.cpu.most + len(spec.iothread) + OWN_THREADS
    if spec.limits.tasks_max is not None and spec.limits.tasks_max < needed:
        told = (
            f"{spec.limits.tasks_max} is too few: QEMU alone has {needed} threads at least, and more at times"
        )
        yield ("limits", "tasks-max"), told


def in_words(limits: Limits) -> dict[str, str]:
    """What is set, by the keys of a file: ``{"disk.root.read-iops-max": "500"}``."""
    said: dict[str, str] = {}
    for field, key in zip(limits.__struct_fields__, limits.__struct_encode_fields__, strict=True):
        value = getattr(limits, field)
        if field == "disk":
            for disk, declared in value.items():
                words = {
                    f"disk.{disk}.{name.replace('_', '-')}": getattr(declared, name) for name in DISK_KEYS
                }
                said |= {name: str(rate) for name, rate in words.items() if rate is not None}
        elif value not in (None, NumaPolicy.DEFAULT):
            said[key] = str(value)
    return said


def _outside(key: str, allowed: str | None, asked: Iterator[tuple[Path, str]]) -> Iterator[Finding]:
    """What other keys want of the host, and ``key`` does not allow. What is no set at all, others tell."""
    try:
        inside = None if allowed is None else numbers(allowed)
    except ValueError:
        return
    if inside is None:
        return
    for path, text in asked:
        try:
            beyond = numbers(text) - inside
        except ValueError:
            continue
        if beyond:
            yield path, f"{spelled(beyond)} is not among limits.{key}, {allowed}"


def _pins(spec: GuestSpec) -> Iterator[tuple[Path, str]]:
    for number, cpus in enumerate(spec.cpu.pin):
        yield ("cpu", "pin", number), cpus
    if spec.cpu.emulator_pin is not None:
        yield ("cpu", "emulator-pin"), spec.cpu.emulator_pin


def _nodes(spec: GuestSpec) -> Iterator[tuple[Path, str]]:
    for name, node in spec.numa.items():
        if node.host_nodes is not None:
            yield ("numa", name, "host-nodes"), node.host_nodes
    if spec.limits.numa_mask is not None:
        yield ("limits", "numa-mask"), spec.limits.numa_mask
