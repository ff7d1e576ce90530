"""What types cannot say: within one guest, and between guests. Pure."""

from __future__ import annotations

import ipaddress
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from qsup.spec.model import Aio, Cache, NicType, Reaction
from qsup.spec.problem import nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from qsup.spec.model import GuestSpec, Nic
    from qsup.spec.problem import Problem

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

MIB: Final = 1 << 20
SERIAL_PORTS: Final = 4
"""ISA serial ports of a PC."""
_END: Final = frozenset({Reaction.RESTART, Reaction.STOP})
REACTIONS: Final[dict[str, frozenset[Reaction]]] = {
    "guest-shutdown": frozenset(Reaction) - {Reaction.IGNORE},
    "guest-panic": frozenset(Reaction),
    "guest-reset": frozenset(Reaction),
    "triple-fault": frozenset(Reaction),
    "kvm-internal-error": frozenset(Reaction) - {Reaction.IGNORE},
    "qemu-exit": _END,
    "qemu-signal": _END,
    "start-failed": _END,
}
"""What can be done about a cause: nothing but a new process helps when the old one is gone."""


class Declared(Protocol):
    """A guest and a way to point at its files."""

    @property
    def spec(self) -> GuestSpec:
        """The guest."""

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at a key of its file."""


class Claim(NamedTuple):
    """Something of the host that only one guest can have."""

    path: Path
    exclusive: bool
    what: str


def check(declared: Mapping[str, Declared], names: Collection[str]) -> dict[str, list[Problem]]:
    """The problems of each guest that has some. Of two guests that clash, the later in the order of names has it.

    ``names`` are all guests that have a file, be it usable or not: one may wait for a guest whose file is broken.
    """
    problems: dict[str, list[Problem]] = {}
    for name, guest in declared.items():
        found = [guest.problem(path, message) for path, message in _within(guest.spec)]
        found += [guest.problem(path, message) for path, message in _order(guest.spec, declared, names)]
        if found:
            problems[name] = found
    for name, finding in _between(
        {name: guest.spec for name, guest in declared.items() if name not in problems}
    ):
        problems.setdefault(name, []).append(declared[name].problem(*finding))
    return problems


def _within(spec: GuestSpec) -> Iterator[Finding]:
    yield from _memory_and_boot(spec)
    yield from _ids(spec)
    for name, disk in spec.disk.items():
        if disk.aio is Aio.NATIVE and disk.cache not in (Cache.NONE, Cache.DIRECTSYNC):
            yield ("disk", name, "aio"), f'"native" needs cache = "none" or "directsync", not "{disk.cache}"'
    for name, nic in spec.nic.items():
        yield from (((*("nic", name), *path), message) for path, message in _nic(nic))
    yield from _policy(spec)


def _memory_and_boot(spec: GuestSpec) -> Iterator[Finding]:
    if spec.memory.size < MIB or spec.memory.size % MIB:
        yield ("memory", "size"), f"{spec.memory.size} is not a whole number of MiB, at least one"
    if spec.boot.kernel is None:
        for key in ("initrd", "cmdline"):
            if getattr(spec.boot, key):
                yield ("boot", key), "needs boot.kernel: the firmware loads a boot loader of its own"
    bootable = {*spec.disk, *spec.cdrom, *spec.nic}
    for number, name in enumerate(spec.boot.order):
        if name not in bootable:
            yield (
                ("boot", "order", number),
                f'there is no disk, cdrom or nic "{name}"{nearest(name, bootable)}',
            )
        elif name in spec.boot.order[:number]:
            yield ("boot", "order", number), f'"{name}" stands there twice'


def _ids(spec: GuestSpec) -> Iterator[Finding]:
    if len(spec.serial) > SERIAL_PORTS:
        yield ("serial",), f"{len(spec.serial)} serial ports; a PC has at most {SERIAL_PORTS}"
    owners: dict[str, str] = {}
    for family in ("disk", "cdrom", "nic", "serial"):
        for name in getattr(spec, family):
            if name in owners:
                yield (
                    (family, name),
                    f'the id "{name}" is taken by [{owners[name]}.{name}]; ids are unique in a guest',
                )
            owners.setdefault(name, family)


def _nic(nic: Nic) -> Iterator[Finding]:
    for key, kind in (("interface", NicType.TAP), ("bridge", NicType.BRIDGE)):
        if nic.type is kind and not getattr(nic, key):
            yield (key,), f'is missing; type = "{kind}" needs it'
        elif nic.type is not kind and getattr(nic, key):
            yield (key,), f'belongs to type = "{kind}", and the type is "{nic.type}"'
    if nic.helper and nic.type is not NicType.BRIDGE:
        yield ("helper",), f'belongs to type = "bridge", and the type is "{nic.type}"'
    if nic.forward and nic.type is not NicType.USER:
        yield ("forward",), f'belongs to type = "user", and the type is "{nic.type}"'
    for number, forward in enumerate(nic.forward):
        trouble = _forward(forward)
        if trouble:
            yield ("forward", number), trouble


def _forward(forward: str) -> str | None:
    _, address, *ports = forward.split(":")
    if address:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            return f'"{address}" is no IPv4 address'
    wrong = next((port for port in ports if not 1 <= int(port) <= 65535), None)
    return None if wrong is None else f'"{wrong}" is no port; ports go from 1 to 65535'


def _policy(spec: GuestSpec) -> Iterator[Finding]:
    if spec.restart.max_delay < spec.restart.delay:
        yield (
            ("restart", "max-delay"),
            f"{spec.restart.max_delay} is less than restart.delay, {spec.restart.delay}",
        )
    for key, allowed in REACTIONS.items():
        reaction = getattr(spec.restart.on, key.replace("-", "_"))
        if reaction is not None and reaction not in allowed:
            words = quoted(member for member in Reaction if member in allowed)
            yield ("restart", "on", key), f'"{reaction}" is not possible after {key}; allowed: {words}'


def _order(spec: GuestSpec, known: Mapping[str, Declared], names: Collection[str]) -> Iterator[Finding]:
    for number, other in enumerate(spec.after):
        if other not in names:
            yield ("after", number), f'there is no guest "{other}"{nearest(other, names)}'
            continue
        way = _way(other, spec.name, known)
        if way:
            yield ("after", number), f"a guest cannot wait for itself: {' after '.join((spec.name, *way))}"


def _way(start: str, goal: str, known: Mapping[str, Declared]) -> tuple[str, ...] | None:
    """The way along ``after`` from one guest to another, if there is one."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while ways:
        way = ways.pop()
        if way[-1] == goal:
            return way
        for other in known[way[-1]].spec.after if way[-1] in known else ():
            if other not in seen or other == goal:
                seen.add(other)
                ways.append((*way, other))
    return None


def _between(specs: Mapping[str, GuestSpec]) -> Iterator[tuple[str, Finding]]:
    owners: dict[str, list[tuple[str, Claim]]] = {}
    for name in sorted(specs):
        for key, claim in chain(_images(specs[name]), _macs(specs[name]), _ports(specs[name])):
            for rival in _rivals(key):
                for other, theirs in owners.get(rival, ()):
                    if claim.exclusive or theirs.exclusive:
                        place = "this guest" if other == name else f"guest {other}"
                        where = ".".join(str(part) for part in theirs.path if isinstance(part, str))
                        yield name, (claim.path, f"{claim.what} is used by {place} as well ({where})")
            owners.setdefault(key, []).append((name, claim))


def _rivals(key: str) -> tuple[str, ...]:
    """The keys that a claim clashes with: a port on any address clashes with that port on each."""
    if not key.startswith("port "):
        return (key,)
    _, protocol, port, address = key.split(" ")
    if address == "*":
        return (key, f"any {protocol} {port}")
    return (key, f"port {protocol} {port} *")


def _images(spec: GuestSpec) -> Iterator[tuple[str, Claim]]:
    for name, disk in spec.disk.items():
        path: Path = ("disk", name, "file")
        yield f"image {disk.file}", Claim(path, not disk.read_only, f"the image {disk.file}")
    for name, cdrom in spec.cdrom.items():
        if cdrom.file is not None:
            yield f"image {cdrom.file}", Claim(("cdrom", name, "file"), False, f"the image {cdrom.file}")


def _macs(spec: GuestSpec) -> Iterator[tuple[str, Claim]]:
    for name, nic in spec.nic.items():
        if nic.mac is not None:
            yield f"mac {nic.mac}", Claim(("nic", name, "mac"), True, f"the address {nic.mac}")


def _ports(spec: GuestSpec) -> Iterator[tuple[str, Claim]]:
    for name, nic in spec.nic.items():
        for number, forward in enumerate(nic.forward):
            protocol, address, port, _ = forward.split(":")
            host = "*" if address in ("", "0.0.0.0") else address  # noqa: S104 - compared, not bound
            claim = Claim(("nic", name, "forward", number), True, f"{protocol} port {int(port)}")
            yield f"port {protocol} {int(port)} {host}", claim
            if host != "*":
                yield f"any {protocol} {int(port)}", claim._replace(exclusive=False)
