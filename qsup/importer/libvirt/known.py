"""What of a domain is nothing to tell, and why what has no counterpart has none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.words import at

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

_NOTHING: Final = r"""
    domain@id | domain@type
    domain/metadata | domain/resource | domain/seclabel | domain/title
    .*/alias.* | .*/address.* | .*/seclabel.* | .*/mirror.* | .*/privateData.*
    domain/memory@dumpCore | domain/vcpu@placement | domain/on_lockfailure
    domain/devices/emulator | domain/devices/lease
    domain/devices/disk@snapshot | domain/devices/disk/backingStore.* | domain/devices/disk/driver@name
    domain/devices/disk/target@dev | domain/devices/disk/source@startupPolicy | domain/devices/disk/source@index
    domain/devices/disk/source/reservations.* | domain/devices/disk/driver@metadata_cache.*
    domain/devices/interface/target@dev | domain/devices/interface/source@portid
    domain/devices/(serial|console|parallel|channel)/(target|source.*|log.*) | domain/devices/hub.*
    domain/devices/(serial|console|parallel|channel)/target@(port|state)
    domain/devices/(serial|console)@tty
    domain/devices/graphics/listen.* | domain/devices/graphics@(autoport|keymap_default)
    domain/devices/hostdev@managed | domain/devices/hostdev/source@startupPolicy
    domain/devices/hostdev/driver@name | domain/devices/interface/driver@name
    domain/devices/audio.*
    domain/features/hap.* | domain/features/viridian
"""
"""Paths of what is libvirt's own bookkeeping, or what qsup does by itself."""

_REASONS: Final = {
    r"devices/disk/(source/)?(encryption|auth|cookies|ssl|privateData).*": (
        "qsup passes no secrets to QEMU for images"
    ),
    r"devices/disk/source/.*": "of network disks qsup knows NBD without TLS",
    r"devices/disk/(geometry|blockio|wwn|vendor|product|shareable|transient).*": (
        "qsup has no such key for disks"
    ),
    r"devices/.*driver@(iommu|ats|packed|page_per_vq|event_idx|ioeventfd|queue_size).*": (
        "qsup leaves virtio's own settings as QEMU has them"
    ),
    r"devices/controller.*": "qsup makes the controllers that the devices need, with QEMU's own settings",
    r"devices/interface/(bandwidth|vlan|virtualport|filterref|port|teaming|coalesce).*": (
        "set it up on the host's bridge or tap interface"
    ),
    r"devices/interface/(ip|route|guest)": "set it up on the host's interface",
    r"devices/interface/(script|downscript).*": (
        'qsup runs no scripts for interfaces; make the interface with systemd-networkd and name it with type = "tap"'
    ),
    r"(memtune|blkiotune|cputune|resource).*": (
        "limits on the host belong into a systemd slice or drop-in for the daemon"
    ),
    r"cpu/(cache|maxphysaddr|check).*": "qsup has no key for it; QEMU's default for the CPU model holds",
    r"launchSecurity.*": "qsup starts no confidential guests",
    r"(idmap|keywrap).*": "qsup has no counterpart",
    r"qemu:(override|capabilities|deprecation).*": (
        "qsup has no overrides of devices; put what the guest needs into qemu.args"
    ),
    r"devices/(smartcard|shmem|crypto|pstore|memory|nvram)": "qsup has no such device",
}
_SILENT: Final = [
    re.compile(path.strip())
    for line in _NOTHING.strip().splitlines()
    for path in line.split(" | ")
    if path.strip()
]
_WHY: Final = [(re.compile(f"domain/{path}"), why) for path, why in _REASONS.items()]
_PLAIN: Final = "qsup has no counterpart"


def tell_unread(draft: Draft, domain: Element) -> None:
    """Note all that no converter has read, but for what is nothing to tell."""
    for unread in domain.unread():
        if any(pattern.fullmatch(unread.path) for pattern in _SILENT):
            continue
        why = next((why for pattern, why in _WHY if pattern.fullmatch(unread.path)), _PLAIN)
        draft.here = f"line {unread.line}"
        draft.lost(f"{unread.text} in {unread.path.rpartition('/')[0] or 'domain'}", why)


def tell_places(draft: Draft, domain: Element) -> None:
    """Say once that devices have other places."""
    for element in domain.below():
        if element.name == "address" and element.peek("type") == "pci":
            draft.here = at(element)
            draft.differs(
                "places of devices on the PCI bus",
                "qsup gives each device a fixed place of its own; a guest that names NICs by their place "
                "(enp1s0) has to be told once",
            )
            return
