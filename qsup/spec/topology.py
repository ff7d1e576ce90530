"""Whether the guest's NUMA nodes make up its vCPUs and its memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.spec.numbers import numbers, spelled, trouble
from qsup.spec.problem import nearest
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding
    from qsup.spec.model import GuestSpec

MOST_NODES: Final = 128
"""QEMU's MAX_NODES."""
NEAR: Final = 10
"""The distance of a node to itself."""


def numa(spec: GuestSpec) -> Iterator[Finding]:
    """What is wrong between the nodes, and with the tables that they divide."""
    if not spec.numa:
        return
    if len(spec.numa) > MOST_NODES:
        yield ("numa",), f"{len(spec.numa)} nodes; QEMU knows {MOST_NODES}"
    if any(node.cpus is not None and trouble(node.cpus) for node in spec.numa.values()):
        return
    yield from _cpus(spec)
    yield from _memory(spec)
    yield from _distances(spec)


def _cpus(spec: GuestSpec) -> Iterator[Finding]:
    owners: dict[int, str] = {}
    for name, node in spec.numa.items():
        mine = numbers(node.cpus) if node.cpus is not None else frozenset[int]()
        if beyond := frozenset(cpu for cpu in mine if cpu >= spec.cpu.most):
            yield (
                ("numa", name, "cpus"),
                f"there is no vCPU {spelled(beyond)}; they go from 0 to {spec.cpu.most - 1}",
            )
        if twice := frozenset(cpu for cpu in mine if cpu in owners):
            yield ("numa", name, "cpus"), f"vCPU {spelled(twice)} is in numa.{owners[min(twice)]} already"
        owners |= dict.fromkeys(mine - owners.keys(), name)
    if left := frozenset(range(spec.cpu.most)) - owners.keys():
        yield ("numa",), f"vCPU {spelled(left)} is in no node"


def _memory(spec: GuestSpec) -> Iterator[Finding]:
    total = Size(sum(node.memory or 0 for node in spec.numa.values()))
    if total != spec.memory.size:
        yield (
            ("numa",),
            f"the nodes have {total} of memory, and memory.size is {spec.memory.size}; make them equal",
        )
    page = spec.memory.page_size
    for name, node in spec.numa.items():
        if page and (node.memory or 0) % page:
            yield ("numa", name, "memory"), f"{node.memory} is not a whole number of pages of {page}"


def _distances(spec: GuestSpec) -> Iterator[Finding]:
    for name, node in spec.numa.items():
        for other, value in node.distance.items():
            path = ("numa", name, "distance", other)
            if other not in spec.numa:
                yield path, f'there is no node "{other}"{nearest(other, spec.numa)}'
            elif (other == name) != (value == NEAR):
                yield path, f"{NEAR} is a node's distance to itself, and to no other"
