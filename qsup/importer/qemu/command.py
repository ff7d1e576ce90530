"""What a command line of QEMU says, gathered by kind, with what has been taken of it so far."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsup.argv.quote import comma
from qsup.importer.qemu.words import Keys, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qsup.importer.draft import Draft

BACKENDS: Final = {
    "object": ("id",),
    "chardev": ("id",),
    "blockdev": ("node-name",),
    "drive": ("id",),
    "netdev": ("id",),
    "fsdev": ("id",),
    "tpmdev": ("id",),
    "audiodev": ("id",),
}
"""Options that make what devices refer to, and the key of the name that they refer by."""
PLACES: Final = ("bus", "addr", "multifunction", "acpi-index", "nr", "port")


@dataclass
class Part:
    """An option that devices refer to, or a device."""

    option: Option
    keys: Keys
    used: bool = False

    @property
    def kind(self) -> str:
        """The first key: a driver, a type of object."""
        return next((self.keys.peek(key) for key in ("driver", "qom-type", "backend", "type", "fsdriver")
                     if self.keys.peek(key)), None) or ""  # fmt: skip


class Command:
    """The options of a command line, being turned into a draft."""

    def __init__(
        self, draft: Draft, options: Iterable[Option], image_format: Callable[[str], str | None]
    ) -> None:
        self.draft = draft
        self.image_format = image_format
        self.backends: dict[tuple[str, str], Part] = {}
        self.devices: list[Part] = []
        self.others: list[Part] = []
        self.moved = False
        """Whether a device stood at a place of its own on the PCI bus."""
        self.ids: dict[str, str] = {}
        """From a device's id on the command line to its id in the file."""
        options = tuple(options)
        self._names = frozenset(option.name for option in options)
        self._bare_never = "nodefaults" in self._names
        for option in options:
            part = Part(option, Keys.of(option))
            name = next(
                (part.keys.peek(key) for key in BACKENDS.get(option.name, ()) if part.keys.peek(key)), None
            )
            if option.name == "device":
                self.devices.append(part)
            elif name is not None and (option.name != "drive" or part.keys.peek("if") == "none"):
                self.backends[option.name, name] = part
            else:
                self.others.append(part)

    def at(self, part: Part) -> None:
        """What is set or noted from now on comes from this option."""
        self.draft.here = f"word {part.option.number}"

    def use(self, kind: str, name: str | None) -> Part | None:
        """The backend that is referred to, used from now on."""
        part = self.backends.get((kind, name or ""))
        if part is not None:
            part.used = True
        return part

    def named(self, *names: str) -> list[Part]:
        """The options of these names, used from now on, in their order."""
        found = [part for part in self.others if part.option.name in names and not part.used]
        for part in found:
            part.used = True
        return found

    def has(self, *names: str) -> bool:
        """Whether one of these options is there."""
        return any(part.option.name in names for part in self.others)

    def is_bare(self, *names: str) -> bool:
        """Whether QEMU adds a default: no -nodefaults, and none of these options."""
        return not self._bare_never and not any(name in self._names for name in names)

    def of(self, *drivers: str) -> list[Part]:
        """The devices of these drivers, used from now on, in their order."""
        found = [part for part in self.devices if part.kind in drivers and not part.used]
        for part in found:
            part.used = True
        return found

    def place(self, part: Part) -> None:
        """A device's place on its bus is qsup's to choose."""
        self.moved = self.moved or part.keys.peek("addr") is not None
        part.keys.drop(*PLACES)

    def tell_left(self, part: Part, why: str = "qsup has no counterpart") -> None:
        """Note the keys of an option that nobody has taken."""
        self.at(part)
        for key, value in part.keys.left().items():
            shown = "…" if "passw" in key else value[:60]
            self.draft.lost(f"{key}={shown} of -{part.option.name} {part.kind}".rstrip(), why)

    def lost(self, part: Part, why: str) -> None:
        """Note an option without counterpart."""
        self.at(part)
        self.draft.lost(part.option.shown(), why)

    def keep(self, part: Part, first: Iterable[str] = (), bus: str | None = None) -> None:
        """Keep an option, with the backends that it refers to, as arguments for QEMU; a device on this bus."""
        self.at(part)
        taken = [*self._referred(part), part]
        if why := next((why for one in taken if (why := _unkeepable(one))), None):
            self.draft.lost(part.option.shown(), why)
            return
        words = [*first]
        for one in taken:
            one.used = True
            words += one.option.words() if one is not part else self._unplaced(part, bus)
        self.draft.pass_on(part.option.shown(), words)

    def nodes_below(self, name: str | None) -> list[Part]:
        """The block nodes that one is made of, itself included."""
        part = self.backends.get(("blockdev", name or ""))
        if part is None:
            return []
        below = [part.keys.peek("file"), part.keys.peek("backing")]
        return [
            part,
            *(one for inner in below if inner for one in self.nodes_below(inner) if one is not part),
        ]

    def _referred(self, part: Part) -> list[Part]:
        found: list[Part] = []
        values = {value for values in part.keys.all().values() for value in values}
        for (_, name), backend in self.backends.items():
            if name in values and backend is not part and backend not in found and not backend.used:
                found += [*(one for one in self._referred(backend) if one not in found), backend]
        return found

    def _unplaced(self, part: Part, bus: str | None) -> list[str]:
        """The option without its place on a bus that will not be there."""
        if part.option.name != "device":
            return part.option.words()
        self.moved = self.moved or part.keys.peek("addr") is not None
        if part.keys.json is not None:
            left = {key: value for key, value in part.keys.json.items() if key not in PLACES}
            return ["-device", json.dumps(left | ({"bus": bus} if bus else {}), ensure_ascii=False)]
        kept = {
            key: values for key, values in part.keys.all().items() if key not in PLACES and key != "driver"
        }
        words = [part.kind, *(f"{key}={comma(value)}" for key, values in kept.items() for value in values)]
        return ["-device", ",".join([*words, *([f"bus={bus}"] if bus else [])])]


def _unkeepable(part: Part) -> str | None:
    """Why an option cannot stand in a guest file."""
    values = part.keys.all()
    if any(re.fullmatch(r"(vhost)?fds?", key) for key in values) or part.option.name == "add-fd":
        return "its starter had opened it, and gave it to QEMU as a file descriptor"
    if any(value.startswith("/dev/fdset/") for found in values.values() for value in found):
        return "its starter had opened it, and gave it to QEMU as a file descriptor"
    if part.kind == "secret" and ("data" in values or "keyid" in values):
        return "a secret does not belong on a command line; give it in a file (-object secret,file=)"
    return None
