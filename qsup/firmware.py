"""The firmware that is installed here, by the descriptor files that come with it (QEMU: docs/interop/firmware.json).

Distributions put them into one directory, the administrator into another, a user into a third. A file hides those of
its name in the directories before, and an empty one hides them without taking their place; the rest counts in the
order of the files' names, the first that suits being the best.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.facts import FirmwareDescriptor
from qsup.spec.tables.machine import Firmware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.argv.facts import HostFacts
    from qsup.spec.model import GuestSpec

log = logging.getLogger(__name__)

SYSTEM: Final = ("/usr/share/qemu/firmware", "/etc/qemu/firmware")
LIMIT: Final = 1 << 20
"""Bytes; a descriptor has some hundreds."""


class _Described(msgspec.Struct, rename="kebab"):
    """What a descriptor says, as far as it matters here."""

    interface_types: tuple[str, ...]
    mapping: msgspec.Raw
    targets: tuple[_Target, ...]
    features: frozenset[str]


class _Target(msgspec.Struct):
    architecture: str
    machines: tuple[str, ...]


class _Mapping(msgspec.Struct, rename="kebab"):
    device: str


class _File(msgspec.Struct):
    filename: str
    format: str = "raw"


class _Flash(msgspec.Struct, rename="kebab"):
    executable: _File
    mode: str = "split"
    nvram_template: _File | None = None


def with_firmware(facts: HostFacts, spec: GuestSpec) -> HostFacts:
    """The facts, completed by the firmware that this host has, if the guest is to have one of it."""
    if spec.machine.firmware is Firmware.BIOS or spec.machine.firmware_code is not None:
        return facts
    return msgspec.structs.replace(facts, firmware=descriptors(directories()))


def directories() -> tuple[str, ...]:
    """Where descriptors lie, those that win over others last. What is in root's home is not for the system's guests."""
    if os.geteuid() == 0:
        return SYSTEM
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return (*SYSTEM, os.path.join(home, "qemu/firmware"))


def descriptors(places: Sequence[str]) -> tuple[FirmwareDescriptor, ...]:
    """All usable descriptors of these directories, the best first."""
    files: dict[str, str] = {}
    for place in places:
        try:
            names = os.listdir(place)
        except OSError:
            continue
        files |= {
            name: os.path.join(place, name) for name in names if name.endswith(".json") and name[0] != "."
        }
    found = (_read(files[name]) for name in sorted(files))
    return tuple(descriptor for descriptor in found if descriptor is not None)


def _read(path: str) -> FirmwareDescriptor | None:
    """One descriptor; None if it only hides others, or is of a kind that is not for us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            data = file.read(LIMIT)
        return _descriptor(path, data) if data else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.warning("the firmware descriptor %s cannot be used: %s, ignoring", path, error)
        return None


def _descriptor(path: str, data: bytes) -> FirmwareDescriptor | None:
    described = msgspec.json.decode(data, type=_Described)
    flash = _flash(described.mapping)
    if flash is None:
        return None
    return FirmwareDescriptor(
        path=path,
        interfaces=described.interface_types,
        targets=tuple((target.architecture, target.machines) for target in described.targets),
        features=described.features,
        mode=flash.mode,
        code=flash.executable.filename,
        code_format=flash.executable.format,
        nvram=flash.nvram_template.filename if flash.nvram_template else None,
        nvram_format=flash.nvram_template.format if flash.nvram_template else "raw",
    )


def _flash(mapping: msgspec.Raw) -> _Flash | None:
    """How the firmware comes into the machine; None for what is neither flash nor memory."""
    match msgspec.json.decode(mapping, type=_Mapping).device:
        case "flash":
            return msgspec.json.decode(mapping, type=_Flash)
        case "memory":
            return _Flash(msgspec.json.decode(mapping, type=_File), mode="memory")
        case _:
            return None
