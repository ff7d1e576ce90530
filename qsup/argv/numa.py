"""The guest's NUMA nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import Board
from qsup.argv.invocation import Option
from qsup.argv.memory import backend, mib
from qsup.argv.quote import pairs, plain, sourced
from qsup.errors import SpecError
from qsup.spec.numbers import numbers, spelled
from qsup.spec.tables.numa import HostPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.numa import Numa

NEAR: Final = 10
FAR: Final = 20
"""Distances in ACPI's SLIT: of a node to itself, and between nodes of which nothing is said."""


def options(draft: Draft) -> Iterator[Option]:
    """Each node with its memory, then all distances, if the file names one: QEMU takes all or none."""
    nodes = draft.spec.numa
    if nodes and draft.board is Board.MICROVM:
        raise SpecError("numa: a microvm has no NUMA nodes")
    for index, (name, node) in enumerate(nodes.items()):
        yield from sourced(("numa", name), _node(draft.spec, index, name, node))
    if any(node.distance for node in nodes.values()):
        for source, name in enumerate(nodes):
            yield from sourced(("numa", name, "distance"), _distances(draft.spec, source, name))


def _node(spec: GuestSpec, index: int, name: str, node: Numa) -> Iterator[Option]:
    words = [f"node,nodeid={index}", *_cpus(name, node)]
    if node.memory is not None:
        mib(f"numa.{name}.memory", node.memory)
        bound = {}
        if node.policy is not HostPolicy.DEFAULT and node.host_nodes is not None:
            bound = {"policy": node.policy, "host-nodes": sorted(_numbers(name, node.host_nodes))}
        yield backend(spec, f"numa-{name}", int(node.memory), **bound)
        words.append(pairs(memdev=f"numa-{name}"))
    yield Option("-numa", ",".join(words))


def _cpus(name: str, node: Numa) -> Iterator[str]:
    """QEMU takes a range for each time that the key stands there."""
    if node.cpus is not None:
        yield from (f"cpus={part}" for part in spelled(_numbers(name, node.cpus)).split(","))


def _numbers(name: str, text: str) -> frozenset[int]:
    try:
        return numbers(text)
    except ValueError as error:
        raise SpecError(f"numa.{name}: {plain(str(error))}") from error


def _distances(spec: GuestSpec, source: int, name: str) -> Iterator[Option]:
    for target, (other, node) in enumerate(spec.numa.items()):
        unsaid = NEAR if other == name else node.distance.get(name, FAR)
        value = spec.numa[name].distance.get(other, unsaid)
        yield Option("-numa", pairs("dist", src=source, dst=target, val=value))
