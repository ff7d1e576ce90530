"""What a command line asks for and this QEMU does not have: devices, their properties, kinds of backends.

Written once for all families: what stands in JSON, or first in a value, names itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.preflight.obstacle import Obstacle
from qsup.spec.problem import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.facts import HostFacts
    from qsup.preflight.obstacle import Plan

KINDS: Final = {
    "-blockdev": ("driver", "BlockdevDriver", "block driver"),
    "-object": ("qom-type", "ObjectType", "kind of object"),
    "-netdev": ("type", "NetClientDriver", "kind of network backend"),
    "-chardev": ("backend", "ChardevBackendKind", "kind of character device"),
    "-display": ("type", "displays", "kind of display"),
    "-audiodev": ("driver", "audio-backends", "kind of audio backend"),
}
"""Of each option: the member that says what is made, the name of the list that has all, what to call it."""
LOADED: Final = frozenset({"-display", "-audiodev"})
"""Of these options the kinds that QEMU can load are known, not those that it was built for."""
SCREENS: Final = {"-vnc": "VNC", "-spice": "SPICE"}
"""Options that a QEMU may lack altogether."""
PARTS: Final = {"virtio-vga": "virtio-gpu-device", "virtio-vga-gl": "virtio-gpu-gl-device"}
"""Devices that are made of another one, which may be in another package."""
HINT: Final = "; it may come with a newer QEMU, or with a package of its modules that is not installed"
OF_THE_BUS: Final = frozenset({"driver", "id", "bus"})
"""Members of ``-device`` that are no properties of the device."""
NO_TABLE: Final = ("qemu",)
"""What qsup adds by itself has no key; the QEMU that lacks it does."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Everything that this QEMU lacks, in the command line's order."""
    facts = plan.facts
    for option in plan.made.options:
        path = option.source or NO_TABLE
        members = _members(option.flag, option.value or "")
        for lack in _lacks(option.flag, members, facts, typed=path == NO_TABLE):
            yield Obstacle(path, f"{facts.binary} {lack}")


def _members(flag: str, value: str) -> dict[str, Any]:
    """What the value says, as far as it says what is made."""
    if value.startswith("{"):
        return msgspec.json.decode(value, type=dict[str, Any])
    first = value.partition(",")[0]
    return {"driver" if flag == "-device" else KINDS.get(flag, ("",))[0]: first.rpartition("=")[2]}


def _lacks(flag: str, members: dict[str, Any], facts: HostFacts, *, typed: bool) -> Iterator[str]:
    if flag == "-device":
        yield from _device(members, facts, typed=typed)
    elif flag in KINDS:
        member, kind, noun = KINDS[flag]
        name = str(members.get(member))
        if not facts.has_member(kind, name):
            hint = nearest(name, facts.members[kind]) or (HINT if flag in LOADED else "")
            yield f'has no {noun} "{printable(name)}"{hint}'
    elif flag in SCREENS and not facts.has_option(flag.removeprefix("-")):
        yield f"has no {SCREENS[flag]}{HINT}"
    aio = members.get("aio")
    if flag == "-blockdev" and isinstance(aio, str) and not facts.has_member("BlockdevAioOptions", aio):
        yield f'cannot do aio = "{aio}"; write aio = "threads"'


def _device(members: dict[str, Any], facts: HostFacts, *, typed: bool) -> Iterator[str]:
    """A name that was typed may be misspelled; one of qsup's own is not."""
    driver = str(members["driver"])
    if not facts.has_device(driver):
        near = nearest(driver, facts.devices) if typed else ""
        yield f'has no device "{printable(driver)}"{near or HINT}'
        return
    if not facts.has_device(PARTS.get(driver, driver)):
        yield f'has a device "{driver}" that needs another, "{PARTS[driver]}"{HINT}'
        return
    for name in members:
        if name not in OF_THE_BUS and not facts.has_property(driver, name):
            yield f'has a device {driver} without the property "{printable(name)}"'
