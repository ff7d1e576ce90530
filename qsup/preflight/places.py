"""The CPUs and NUMA nodes of this host that a guest asks for by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import Obstacle
from qsup.spec.numbers import numbers, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan
    from qsup.spec.base import Path
    from qsup.spec.model import GuestSpec

CPUS: Final = "/sys/devices/system/cpu/online"
NODES: Final = "/sys/devices/system/node/online"


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """What of it this host does not have."""
    yield from _lacking("CPU", CPUS, _pins(plan.spec))
    yield from _lacking("NUMA node", NODES, _nodes(plan.spec))


def _pins(spec: GuestSpec) -> Iterator[tuple[Path, str]]:
    for index, pin in enumerate(spec.cpu.pin):
        yield ("cpu", "pin", index), pin
    if spec.cpu.emulator_pin is not None:
        yield ("cpu", "emulator-pin"), spec.cpu.emulator_pin
    for name, thread in spec.iothread.items():
        if thread.pin is not None:
            yield ("iothread", name, "pin"), thread.pin


def _nodes(spec: GuestSpec) -> Iterator[tuple[Path, str]]:
    for name, node in spec.numa.items():
        if node.host_nodes is not None:
            yield ("numa", name, "host-nodes"), node.host_nodes


def _lacking(what: str, file: str, wanted: Iterator[tuple[Path, str]]) -> Iterator[Obstacle]:
    """Numbers that are not in the kernel's list of those that are there."""
    for key, text in wanted:
        online = _online(file)
        if missing := numbers(text) - numbers(online):
            yield Obstacle(key, f"this host has no {what} {spelled(missing)}; it has {online}")


def _online(file: str) -> str:
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read(4096).strip()
    except OSError:
        # A kernel that knows no NUMA has no list, and one node.
        return "0"
