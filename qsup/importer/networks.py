"""The bridges of libvirt's networks, from the files that it keeps them in. This one looks at files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.errors import SpecError
from qsup.importer.xml import SIZE_LIMIT, parse

if TYPE_CHECKING:
    from pathlib import Path


def bridges(directory: Path) -> dict[str, str]:
    """The bridge of each network whose file can be read and names one."""
    found: dict[str, str] = {}
    for file in sorted(directory.glob("*.xml")):
        try:
            with file.open("rb") as stream:
                network = parse(stream.read(SIZE_LIMIT + 1))
        except (OSError, SpecError):
            # A network that cannot be read is one that is not known; the guests on it are told so.
            continue
        name, bridge = network.text_of("name"), network.child("bridge")
        device = bridge.get("name") if bridge is not None else None
        if network.name == "network" and name and device:
            found[name] = device
    return found
