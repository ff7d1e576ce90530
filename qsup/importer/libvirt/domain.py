"""A libvirt domain becomes a draft. Pure: XML in, no look at the host.

https://libvirt.org/formatdomain.html describes the domains. What libvirt adds by itself to a domain that does not
say it (a balloon, an old NIC model) counts as said; its bookkeeping (ids, security labels) is no part of the guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.errors import SpecError
from qsup.importer.draft import Draft
from qsup.importer.libvirt import devices, disks, nics, ports, processors, screen, system
from qsup.importer.libvirt.known import tell_places, tell_unread
from qsup.importer.libvirt.words import at
from qsup.importer.xml import Element, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

ARCHITECTURES: Final = ("x86_64", "i686")
HYPERVISORS: Final = ("kvm", "qemu")


def draft_of(data: bytes, networks: Mapping[str, str] | None = None, *, autostart: bool = False) -> Draft:
    """The draft of a domain. Raises SpecError for what is none, or none of a PC on QEMU.

    ``networks`` are the bridges of libvirt's networks, by name.
    """
    domain = parse(data)
    _refuse(domain)
    draft = Draft((domain.text_of("name") or "guest").strip())
    if autostart:
        draft.set("autostart", to=True)
    system.convert(draft, domain)
    processors.convert(draft, domain)
    found = domain.child("devices")
    if found is not None:
        kinds = disks.convert(draft, domain, found)
        cards = nics.convert(draft, found, networks or {})
        ports.convert(draft, found)
        screen.convert(draft, found)
        devices.convert(draft, found)
        kinds["network"] = cards
    else:
        kinds = {}
    _boot_kinds(draft, domain, kinds)
    tell_unread(draft, domain)
    tell_places(draft, domain)
    draft.notes.sort(key=lambda note: int(note.where.rpartition(" ")[2] or 0))
    return draft


def _refuse(domain: Element) -> None:
    if domain.name != "domain":
        raise SpecError(f"<{domain.name}> is no libvirt domain")
    if domain.peek("type") not in HYPERVISORS:
        raise SpecError(f"a domain of type {domain.peek('type')!r} does not run on QEMU")
    kind = domain.child("os", "type")
    if kind is None or kind.text not in ("hvm", ""):
        raise SpecError("it is no fully virtualised guest (hvm)")
    architecture = kind.get("arch") or "x86_64"
    if architecture not in ARCHITECTURES:
        raise SpecError(f"qsup runs PCs; this guest's architecture is {architecture}")


def _boot_kinds(draft: Draft, domain: Element, kinds: dict[str, list[str]]) -> None:
    """The order of libvirt's older form, which names kinds of devices and means the first of each."""
    os = domain.child("os")
    for place, boot in enumerate(os.children("boot") if os is not None else []):
        draft.here = at(boot)
        kind = boot.get("dev") or ""
        found = kinds.get(kind)
        if found:
            draft.boot(place, found[0])
        elif kind == "fd":
            draft.differs(boot.shown(), "the firmware tries floppies after what is in boot.order")
