"""What types cannot say: within one guest, and between guests. Pure."""

from __future__ import annotations

import ipaddress
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Protocol

from qsup.spec.between import circles, clashes
from qsup.spec.devices import Aio, Cache, DiskBus, NicType
from qsup.spec.explain import LIMIT
from qsup.spec.policy import Reaction
from qsup.spec.problem import nearest, quoted, shown
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from qsup.spec.devices import Nic
    from qsup.spec.model import GuestSpec
    from qsup.spec.problem import Problem

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

MIB: Final = 1 << 20
MOST_MEMORY: Final = Size.parse("4096 TiB")
"""52 bits of physical address, the most that the architecture allows."""
DURATIONS: Final = {
    ("restart", "delay"): (Duration.parse("0 s"), Duration.parse("1 d")),
    ("restart", "max-delay"): (Duration.parse("0 s"), Duration.parse("1 d")),
    ("restart", "window"): (Duration.parse("1 s"), Duration.parse("365 d")),
    ("restart", "stable-after"): (Duration.parse("1 s"), Duration.parse("365 d")),
    ("stop", "repeat"): (Duration.parse("100 ms"), Duration.parse("1 d")),
    ("stop", "timeout"): (Duration.parse("0 s"), Duration.parse("1 d")),
    ("qemu", "start-timeout"): (Duration.parse("100 ms"), Duration.parse("1 d")),
}
"""The shortest and the longest of each."""
LEAST_ENDLESS_DELAY: Final = Duration.parse("100 ms")
LOG_SIZES: Final = Size.parse("4 KiB"), Size.parse("1 TiB")
SERIAL_PORTS: Final = 4
"""ISA serial ports of a PC."""
_END: Final = frozenset({Reaction.RESTART, Reaction.STOP})
_STANDING: Final = _END | {Reaction.PAUSE}
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


def check(declared: Mapping[str, Declared], names: Collection[str]) -> dict[str, list[Problem]]:
    """The problems of each guest that has some. Of two guests that clash, the later in the order of names has it.

    ``names`` are all guests that have a file, be it usable or not: one may wait for a guest whose file is broken.
    """
    problems: dict[str, list[Problem]] = {}

    def tell(name: str, finding: Finding) -> None:
        problems.setdefault(name, []).append(declared[name].problem(*finding))

    @cache
    def near(word: str) -> str:
        # A thousand guests that wait for one which is gone all ask for the same word.
        return nearest(word, names)

    for name, guest in declared.items():
        for finding in islice(chain(_within(guest.spec), _after(guest.spec, names, near)), LIMIT):
            tell(name, finding)
    for name, finding in circles({name: guest.spec.after for name, guest in declared.items()}):
        tell(name, finding)
    sound = {name: guest.spec for name, guest in declared.items() if name not in problems}
    for name, finding in clashes(sound):
        tell(name, finding)
    return problems


def _within(spec: GuestSpec) -> Iterator[Finding]:
    yield from _memory_and_boot(spec)
    yield from _ids(spec)
    for name, disk in spec.disk.items():
        if disk.aio is Aio.NATIVE and disk.cache not in (Cache.NONE, Cache.DIRECTSYNC):
            yield ("disk", name, "aio"), f'"native" needs cache = "none" or "directsync", not "{disk.cache}"'
        if disk.read_only and disk.bus is DiskBus.IDE:
            yield ("disk", name, "read-only"), "an IDE disk cannot be read-only; use another bus, or a cdrom"
    for name, nic in spec.nic.items():
        yield from (((*("nic", name), *path), message) for path, message in _nic(nic))
    yield from _policy(spec)
    yield from _ranges(spec)


def _memory_and_boot(spec: GuestSpec) -> Iterator[Finding]:
    if spec.memory.size < MIB or spec.memory.size % MIB:
        yield ("memory", "size"), f"{spec.memory.size} is not a whole number of MiB, at least one"
    elif spec.memory.size > MOST_MEMORY:
        yield (
            ("memory", "size"),
            f"{spec.memory.size} is more than any x86 machine can address, {MOST_MEMORY}",
        )
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
    yield from _resets(spec)


def _resets(spec: GuestSpec) -> Iterator[Finding]:
    """QEMU cannot be told to stand still at one kind of reset only, and one that stands still cannot just go on."""
    kinds = ("guest-reset", "triple-fault")
    rules = {key: getattr(spec.restart.on, key.replace("-", "_")) for key in kinds}
    for key, other in (kinds, kinds[::-1]):
        if rules[key] is Reaction.IGNORE and rules[other] in _STANDING:
            told = f'"ignore" is not possible beside {other} = "{rules[other]}"'
            yield ("restart", "on", key), f'{told}: QEMU then stops at both; write "reset"'


def _ranges(spec: GuestSpec) -> Iterator[Finding]:
    """Durations with which a guest would spin, or a wait would last for ever; logs that would only rotate."""
    for path, (least, most) in DURATIONS.items():
        section, key = path
        value = getattr(getattr(spec, section), key.replace("-", "_"))
        if not least <= value <= most:
            yield path, f"{value} is out of range; allowed: {least} to {most}"
    if spec.restart.limit == 0 and spec.restart.delay < LEAST_ENDLESS_DELAY:
        yield (
            ("restart", "delay"),
            f"{spec.restart.delay} is too short for limit = 0, which never gives up; at least {LEAST_ENDLESS_DELAY}",
        )
    for name, serial in spec.serial.items():
        least_log, most_log = LOG_SIZES
        if not least_log <= serial.log_size <= most_log:
            yield (
                ("serial", name, "log-size"),
                f"{serial.log_size} is out of range; allowed: {least_log} to {most_log}",
            )


def _after(spec: GuestSpec, names: Collection[str], near: Callable[[str], str]) -> Iterator[Finding]:
    for number, other in enumerate(spec.after):
        if other == spec.name:
            yield ("after", number), "a guest cannot wait for itself"
        elif other not in names:
            yield ("after", number), f"there is no guest {shown(other)}{near(other)}"
