"""What only all guests together show: two that claim the same thing, and circles of guests that wait. Pure."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple

from qsup.spec.address import Endpoint
from qsup.spec.nbd import parse
from qsup.spec.tables.nic import NicType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.spec.base import Finding, Path
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.disk import Disk


class Claim(NamedTuple):
    """The use of something on the host by one guest. An exclusive one bears no other use beside it."""

    key: tuple[str | int, ...]
    exclusive: bool
    what: str
    guest: str
    path: Path


class Clash(NamedTuple):
    """What is told of one guest because of others."""

    guest: str
    finding: Finding
    others: tuple[str, ...]


def clashes(specs: Mapping[str, GuestSpec]) -> Iterator[Clash]:
    """Claims that cannot stand beside an earlier one; of two guests, the later in the order of names is told."""
    users: dict[tuple[str | int, ...], Claim] = {}
    owners: dict[tuple[str | int, ...], Claim] = {}
    for name in sorted(specs):
        for claim in _claims(name, specs[name]):
            rival = users.get(claim.key) if claim.exclusive else owners.get(claim.key)
            if rival is not None:
                yield Clash(name, (claim.path, _sentence(claim, rival)), (rival.guest,))
            users.setdefault(claim.key, claim)
            if claim.exclusive:
                owners.setdefault(claim.key, claim)


def _sentence(claim: Claim, rival: Claim) -> str:
    place = ".".join(part for part in rival.path if isinstance(part, str))
    if claim.guest == rival.guest:
        return f"{claim.what} is used twice in this guest (also: {place})"
    # The key may stand in a profile that both take, so the message names both.
    return f"{claim.what} is used by guest {rival.guest} as well as {claim.guest} ({rival.guest}: {place})"


def _claims(name: str, spec: GuestSpec) -> Iterator[Claim]:
    if spec.uuid is not None:
        yield Claim(("uuid", spec.uuid), True, f"the UUID {spec.uuid}", name, ("uuid",))
    for key, disk in spec.disk.items():
        yield from _disk(name, key, disk)
    for key, cdrom in spec.cdrom.items():
        if cdrom.file is not None:
            what = f"the image {cdrom.file}"
            yield Claim(("image", cdrom.file), False, what, name, ("cdrom", key, "file"))
    for key, nic in spec.nic.items():
        if nic.mac is not None:
            yield Claim(("mac", nic.mac), True, f"the address {nic.mac}", name, ("nic", key, "mac"))
        if nic.interface is not None and nic.type is NicType.TAP:
            what = f"the tap interface {nic.interface}"
            yield Claim(("tap", nic.interface), True, what, name, ("nic", key, "interface"))
        for number, forward in enumerate(nic.forward):
            protocol, address, port, _ = forward.split(":")
            yield from port_claims(name, protocol, address, int(port), ("nic", key, "forward", number))
        if nic.listen is not None:
            address, port = Endpoint.of(nic.listen)
            yield from port_claims(name, "tcp", address, int(port), ("nic", key, "listen"))
        if nic.socket is not None:
            what = f"the switch's socket {nic.socket}"
            yield Claim(("vhost-user", nic.socket), True, what, name, ("nic", key, "socket"))
    for key, parallel in spec.parallel.items():
        for end, path in (("device", parallel.device), ("file", parallel.file)):
            if path is not None:
                yield Claim((end, path), True, f"the {end} {path}", name, ("parallel", key, end))
    if spec.display.port is not None:
        yield from port_claims(name, "tcp", spec.display.address, spec.display.port, ("display", "port"))
    if spec.sound.file is not None:
        what = f"the file {spec.sound.file}"
        yield Claim(("file", spec.sound.file), True, what, name, ("sound", "file"))
    if spec.vsock.enabled:
        cid = spec.vsock.address(name)
        yield Claim(("cid", cid), True, f"the vsock address {cid}", name, ("vsock", "cid"))
    yield from _devices(name, spec)


def _devices(name: str, spec: GuestSpec) -> Iterator[Claim]:
    """A USB device may be claimed by its name and by its place; that both are the same one, only the host knows."""
    for key, usb in spec.usb.items():
        path = ("usb", key)
        if usb.bus is not None:
            place = f"port {usb.port}" if usb.port is not None else f"address {usb.address}"
            what = f"the USB device at bus {usb.bus}, {place}"
            yield Claim(("usb", usb.bus, place), True, what, name, path)
        elif usb.vendor is not None and usb.product is not None:
            what = f"the USB device {usb.vendor}:{usb.product}"
            yield Claim(("usb", usb.vendor, usb.product), True, what, name, path)
    for key, pci in spec.pci.items():
        if (address := pci.full_address) is not None:
            yield Claim(("pci", address), True, f"the PCI device {address}", name, ("pci", key, "host"))
        if pci.mdev is not None:
            yield Claim(("mdev", pci.mdev), True, f"the device {pci.mdev}", name, ("pci", key, "mdev"))


def _disk(name: str, key: str, disk: Disk) -> Iterator[Claim]:
    """The image, of whatever kind, and the one below it, which many may stand on as long as nobody writes to it."""
    if disk.file is not None:
        what = f"the image {disk.file}"
        yield Claim(("image", disk.file), not disk.read_only, what, name, ("disk", key, "file"))
    if disk.base is not None:
        yield Claim(("image", disk.base), False, f"the image {disk.base}", name, ("disk", key, "base"))
    if disk.nbd is not None:
        what = f"the export {disk.nbd}"
        yield Claim(("nbd", *parse(disk.nbd)), not disk.read_only, what, name, ("disk", key, "nbd"))


def port_claims(name: str, protocol: str, address: str, port: int, path: Path) -> Iterator[Claim]:
    """A port on one address is claimed by itself, and shares the port as a whole; on any address it owns that."""
    everywhere = address in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    yield Claim((protocol, port), everywhere, f"{protocol} port {port}", name, path)
    if not everywhere:
        yield Claim((protocol, port, address), True, f"{protocol} port {port} on {address}", name, path)


def circles(after: Mapping[str, tuple[str, ...]]) -> Iterator[Clash]:
    """Guests that wait for themselves by way of others; a guest is told of one circle."""
    rest = {name: [other for other in others if other != name] for name, others in after.items()}
    while True:
        try:
            TopologicalSorter(rest).prepare()
        except CycleError as error:
            # graphlib names each guest before the one that waits for it, and the first again at the end.
            circle: list[str] = error.args[1][:0:-1]
            for place, name in enumerate(circle):
                way = [*circle[place:], *circle[:place], name]
                yield Clash(name, (("after", after[name].index(way[1])), _circle(way)), tuple(circle))
                del rest[name]
        else:
            return


def _circle(way: list[str]) -> str:
    shown = way if len(way) <= 10 else [*way[:8], "…", way[-1]]
    return f"a guest cannot wait for itself: {' after '.join(shown)}"
