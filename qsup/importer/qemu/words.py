"""QEMU's command line as QEMU reads it: options, ``key=value`` lists with doubled commas, and JSON. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qsup.importer.pairs import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WITHOUT_VALUE: Final = frozenset(
    """
    S alt-grab ctrl-grab curses daemonize enable-fips enable-kvm enable-sync-profile full-screen h help
    mem-prealloc no-acpi no-fd-bootchk no-frame no-hpet no-quit no-reboot no-shutdown no-user-config
    nodefaults nographic old-param only-migratable portrait preconfig sdl semihosting show-cursor
    singlestep snapshot tb-size-help usb version win2k-hack xen-attach xen-domid-restrict nodefconfig
    no-kvm enable-nesting no-kvm-irqchip no-kvm-pit-reinjection
    """.split()  # noqa: SIM905 - so many words read better as text
)
"""Options that take no value, without their hyphens; every other takes one (qemu-options.hx)."""
FIRST_KEYS: Final = {
    "machine": "type",
    "M": "type",
    "accel": "accel",
    "cpu": "model",
    "m": "size",
    "smp": "cpus",
    "device": "driver",
    "object": "qom-type",
    "chardev": "backend",
    "netdev": "type",
    "nic": "type",
    "net": "type",
    "blockdev": "driver",
    "fsdev": "fsdriver",
    "virtfs": "fsdriver",
    "tpmdev": "type",
    "audiodev": "driver",
    "audio": "driver",
    "boot": "order",
    "name": "guest",
    "numa": "type",
    "sandbox": "enable",
    "mon": "chardev",
    "display": "type",
    "vnc": "vnc",
    "fw_cfg": "name",
    "overcommit": "",
    "spice": "",
    "rtc": "",
    "drive": "",
    "smbios": "",
    "acpitable": "",
    "global": "",
    "msg": "",
    "action": "",
    "icount": "shift",
}
"""The key that the first word of a value stands for, if it names none."""
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Option:
    """One option: its name without hyphens, its value, and the number of its word, from 1."""

    name: str
    value: str | None
    number: int

    def shown(self) -> str:
        """The option as it is written, without secrets, not too long."""
        if self.value is None:
            return f"-{self.name}"
        value = re.sub(r"(?i)(passw[a-z]*|data)(=|\":\s*\")[^,\"]*", r"\1\2…", self.value)
        return f"-{self.name} {value if len(value) <= 100 else f'{value[:100]}…'}"

    def words(self) -> list[str]:
        """The option as words of argv."""
        return [f"-{self.name}"] if self.value is None else [f"-{self.name}", self.value]


@dataclass(frozen=True)
class CommandLine:
    """A command line: environment, binary, options, and images that stand by themselves."""

    environment: tuple[str, ...]
    binary: str | None
    options: tuple[Option, ...]


def split(argv: Sequence[str]) -> CommandLine:
    """Tell options from values. A word without a hyphen that is no value is an image, as ``-hda`` would name it."""
    words = list(argv)
    first = 0
    while first < len(words) and _ASSIGNMENT.fullmatch(words[first]):
        first += 1
    environment = tuple(words[:first])
    binary = None
    if first < len(words) and not words[first].startswith("-"):
        binary = words[first]
        first += 1
    return CommandLine(environment, binary, tuple(_options(words, first)))


def _options(words: list[str], first: int) -> Iterator[Option]:
    index = first
    while index < len(words):
        word, number = words[index], index + 1
        index += 1
        if not word.startswith("-") or word == "-":
            yield Option("hda", word, number)
            continue
        name = word.removeprefix("-").removeprefix("-")
        if name in WITHOUT_VALUE or index >= len(words):
            yield Option(name, None, number)
        else:
            yield Option(name, words[index], number)
            index += 1


class Keys:
    """The keys and values of one option; what nobody takes is told at the end."""

    def __init__(self, values: dict[str, list[str]], json_: dict[str, Any] | None = None) -> None:
        self._values = values
        self._left = dict(values)
        self.json = json_

    @classmethod
    def of(cls, option: Option) -> Keys:
        """Read the value of an option; what is no JSON although it looks so is read as text."""
        text = option.value or ""
        if text.startswith("{"):
            try:
                read = json.loads(text)
            except (ValueError, RecursionError):
                read = None
            if isinstance(read, dict):
                return cls(dict(_flat(read)), read)
        return cls(_pairs(text, FIRST_KEYS.get(option.name, "")))

    def take(self, *names: str) -> str | None:
        """The last value of the first of these keys that is there."""
        found: str | None = None
        for name in names:
            values = self._left.pop(name, None)
            if found is None and values:
                found = values[-1]
        return found

    def every(self, name: str) -> list[str]:
        """All values of a key that may stand more than once: also ``name.0``, ``name.0.str`` of JSON."""
        found: list[str] = []
        for key in list(self._left):
            if key == name or re.fullmatch(rf"{re.escape(name)}\.\d+(\.str)?", key):
                found += self._left.pop(key)
        return found

    def below(self, prefix: str) -> Keys:
        """The keys below one: ``file`` of ``file.driver``; taken from here."""
        found = {
            key[len(prefix) + 1 :]: self._left.pop(key)
            for key in list(self._left)
            if key.startswith(f"{prefix}.")
        }
        return Keys(found)

    def peek(self, name: str) -> str | None:
        """A value, without taking it."""
        values = self._values.get(name)
        return values[-1] if values else None

    def switch(self, *names: str) -> bool | None:
        """Whether a key is on."""
        return {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}.get(
            self.take(*names) or ""
        )

    def number(self, *names: str) -> int | None:
        """A key's whole number."""
        value = self.take(*names)
        try:
            return None if value is None else int(value[:20], 0)
        except ValueError:
            return None

    def drop(self, *names: str) -> None:
        """There is nothing to tell of these keys."""
        for name in names:
            self._left.pop(name, None)

    def left(self) -> dict[str, str]:
        """What nobody has taken."""
        return {key: values[-1] for key, values in self._left.items()}

    def all(self) -> dict[str, list[str]]:
        """All keys, taken or not."""
        return self._values

    def __bool__(self) -> bool:
        return bool(self._values)


def _flat(value: dict[str, Any], above: str = "") -> Iterator[tuple[str, list[str]]]:
    """JSON as the dotted keys that QEMU takes for the same."""
    for key, inner in value.items():
        path = f"{above}{key}"
        if isinstance(inner, dict):
            yield from _flat(inner, f"{path}.")
        elif isinstance(inner, list):
            yield from _flat({str(number): one for number, one in enumerate(inner)}, f"{path}.")
        elif inner is not None:
            yield path, [("on" if inner else "off") if isinstance(inner, bool) else str(inner)]


def _pairs(text: str, first: str) -> dict[str, list[str]]:
    """A list of ``key=value``; a word alone is the first key's value, or a switch that is on (``nofoo``: off)."""
    values: dict[str, list[str]] = {}
    for number, part in enumerate(parts(text)):
        key, equals, value = part.partition("=")
        if equals:
            values.setdefault(key, []).append(value)
        elif number == 0 and first:
            values.setdefault(first, []).append(part)
        elif part:
            off = part.startswith("no") and len(part) > 2
            values.setdefault(part.removeprefix("no") if off else part, []).append("off" if off else "on")
    return values
