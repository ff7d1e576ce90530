"""The devices that need to see the guest's memory from another process. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.spec.tables.memory import MemoryBackend
from qsup.spec.tables.share import ShareType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding
    from qsup.spec.model import GuestSpec


def needs_shared_memory(spec: GuestSpec) -> bool:
    """Whether a process beside QEMU works on the guest's memory: a switch of vhost-user NICs, a virtiofsd."""
    shared = any(share.type is ShareType.VIRTIOFS for share in spec.share.values())
    return shared or any(nic.type == "vhost-user" for nic in spec.nic.values())


def tags(spec: GuestSpec) -> Iterator[Finding]:
    """Two shares of one name, of which the guest could mount only one."""
    owners: dict[str, str] = {}
    for name, share in spec.share.items():
        tag = share.tag or name
        if tag in owners:
            key = ("share", name, "tag") if share.tag else ("share", name)
            yield key, f'the tag "{tag}" is that of [share.{owners[tag]}] already'
        owners.setdefault(tag, name)


def unshared(spec: GuestSpec) -> Iterator[Finding]:
    """Keys that take from such a process what it needs."""
    if not needs_shared_memory(spec):
        return
    why = "a vhost-user NIC or a virtiofs share needs memory that it can see; leave the key out"
    if spec.memory.share is False:
        yield ("memory", "share"), why
    if spec.memory.backend is MemoryBackend.RAM:
        yield ("memory", "backend"), why
