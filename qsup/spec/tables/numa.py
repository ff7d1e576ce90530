"""The guest's NUMA nodes. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, Identifier, Section, about
from qsup.spec.numbers import Numbers, trouble
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1 << 20


class HostPolicy(StrEnum):
    """Where the host takes a node's memory from, in QEMU's words."""

    DEFAULT = "default"
    BIND = "bind"
    PREFERRED = "preferred"
    INTERLEAVE = "interleave"


class Numa(Section, frozen=True, kw_only=True):
    """A NUMA node of the guest: `[numa.ID]`; their order in the file is their order in the guest."""

    cpus: Annotated[
        Numbers | None,
        about(
            "The vCPUs of the node, by their index: `0-3`. None is a node of memory alone.",
            qemu="-numa node,cpus=",
        ),
    ] = None
    memory: Annotated[
        Size | None,
        about(
            "The node's share of `memory.size`. None is a node of vCPUs alone.",
            qemu="-numa node,memdev=",
        ),
    ] = None
    host_nodes: Annotated[
        Numbers | None,
        about("The host's nodes that `policy` is about.", qemu="-object memory-backend-…,host-nodes="),
    ] = None
    policy: Annotated[
        HostPolicy,
        about("Where the host takes the memory from.", qemu="-object memory-backend-…,policy="),
    ] = HostPolicy.DEFAULT
    distance: Annotated[
        dict[Identifier, Annotated[int, Meta(ge=10, le=255)]],
        about(
            "How far other nodes are, by their ids: 10 is near, 255 cannot be reached. "
            "What one side alone says holds for both; without any, 20.",
            qemu="-numa dist,src=,dst=,val=",
        ),
    ] = {}

    def wrong(self) -> Iterator[Finding]:
        """Sets of numbers that are none, sizes that no node can have, and a policy without nodes."""
        for key, text in (("cpus", self.cpus), ("host-nodes", self.host_nodes)):
            if text is not None and (why := trouble(text)):
                yield (key,), why
        if self.memory is not None and (self.memory < MIB or self.memory % MIB):
            yield ("memory",), f"{self.memory} is not a whole number of MiB, at least one"
        if self.policy is HostPolicy.DEFAULT and self.host_nodes is not None:
            yield ("host-nodes",), 'needs a policy: "bind", "preferred" or "interleave"'
        elif self.policy is not HostPolicy.DEFAULT and self.host_nodes is None:
            yield ("host-nodes",), f'is missing; policy = "{self.policy}" needs it'
        if self.memory is None and self.host_nodes is not None:
            yield ("host-nodes",), "is for `memory`, which this node has not"
