"""What only all guests together show: two that claim the same thing, and circles of guests that wait. Pure."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.spec.model import GuestSpec

Path = tuple[str | int, ...]
Finding = tuple[Path, str]


class Claim(NamedTuple):
    """The use of something on the host by one guest. An exclusive one bears no other use beside it."""

    key: tuple[str | int, ...]
    exclusive: bool
    what: str
    guest: str
    path: Path


def clashes(specs: Mapping[str, GuestSpec]) -> Iterator[tuple[str, Finding]]:
    """Claims that cannot stand beside an earlier one; of two guests, the later in the order of names is told."""
    users: dict[tuple[str | int, ...], Claim] = {}
    owners: dict[tuple[str | int, ...], Claim] = {}
    for name in sorted(specs):
        for claim in _claims(name, specs[name]):
            rival = users.get(claim.key) if claim.exclusive else owners.get(claim.key)
            if rival is not None:
                yield name, (claim.path, _sentence(claim, rival))
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
    for key, disk in spec.disk.items():
        what = f"the image {disk.file}"
        yield Claim(("image", disk.file), not disk.read_only, what, name, ("disk", key, "file"))
    for key, cdrom in spec.cdrom.items():
        if cdrom.file is not None:
            what = f"the image {cdrom.file}"
            yield Claim(("image", cdrom.file), False, what, name, ("cdrom", key, "file"))
    for key, nic in spec.nic.items():
        if nic.mac is not None:
            yield Claim(("mac", nic.mac), True, f"the address {nic.mac}", name, ("nic", key, "mac"))
        if nic.interface is not None:
            what = f"the tap interface {nic.interface}"
            yield Claim(("tap", nic.interface), True, what, name, ("nic", key, "interface"))
        for number, forward in enumerate(nic.forward):
            yield from _port(name, forward, ("nic", key, "forward", number))


def _port(name: str, forward: str, path: Path) -> Iterator[Claim]:
    """A port on one address is claimed by itself, and shares the port as a whole; on any address it owns that."""
    protocol, address, digits, _ = forward.split(":")
    port = int(digits)
    everywhere = address in ("", "0.0.0.0")  # noqa: S104 - compared, not bound
    yield Claim((protocol, port), everywhere, f"{protocol} port {port}", name, path)
    if not everywhere:
        yield Claim((protocol, port, address), True, f"{protocol} port {port} on {address}", name, path)


def circles(after: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Finding]]:
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
                yield name, (("after", after[name].index(way[1])), _circle(way))
                del rest[name]
        else:
            return


def _circle(way: list[str]) -> str:
    shown = way if len(way) <= 10 else [*way[:8], "…", way[-1]]
    return f"a guest cannot wait for itself: {' after '.join(shown)}"
