"""What a guest's scope and machine are called. Pure.

A scope is ``qsup-NAME.scope``. A daemon that does not work in the usual directories adds a tag of its own to all its
names: two daemons of one host may have guests of one name.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

USUAL_SLICE: Final = "qsup.slice"
_LABEL: Final = re.compile(rb"[A-Za-z0-9]")
_MACHINE: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


def tag(runtime: str, usual: str) -> str:
    """What distinguishes the names of the daemon with this runtime directory; empty where it is the usual one."""
    return "" if runtime == usual else _digest(runtime)


def scope(guest: str, tag: str = "") -> str:
    """The name of a guest's scope. All characters of a guest's name may stand in a unit's, but for one.

    A scope is nobody's instance, so the ``@`` in the name of an instance is written as systemd-escape(1) writes it.
    """
    return f"{_tagged(guest, tag).replace('@', chr(92) + 'x40')}.scope"


def machine(guest: str, tag: str = "") -> str:
    """The name for systemd-machined, which wants it to be a host's; what is none is made one, unlike any other."""
    name = _tagged(guest, tag)
    if _MACHINE.fullmatch(name):
        return name
    parts = [part.strip("-") for part in re.sub(r"[^A-Za-z0-9.-]", "-", name).split(".")]
    return f"{'.'.join(part for part in parts if part)}-{_digest(name)}"


def object_path(unit: str) -> str:
    """The path under which systemd has a unit on the bus."""
    label = "".join(chr(byte) if _LABEL.match(bytes([byte])) else f"_{byte:02x}" for byte in unit.encode())
    return f"/org/freedesktop/systemd1/unit/{label}"


def _tagged(guest: str, tag: str) -> str:
    return f"qsup-{guest}-{tag}" if tag else f"qsup-{guest}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:6]
