"""The virtio-serial controller, which consoles and the channels of agents share, and its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_VIRTIO_SERIAL
from qsup.argv.quote import device
from qsup.errors import SpecError
from qsup.spec.tables.display import DisplayType
from qsup.spec.tables.serial import SerialType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec

CONTROLLER: Final = "virtio-serial"
PORT_AGENT: Final = 1
"""Port 0 is kept for a console, as old guests look for theirs there."""
PORT_VDAGENT: Final = 2
PORTS_CONSOLE: Final = (0, *range(4, 31))
"""The ports of consoles; those between are the agents'."""


def consoles(spec: GuestSpec) -> list[str]:
    """The ids of the serial ports that are virtio consoles."""
    return [name for name, serial in spec.serial.items() if serial.type is SerialType.VIRTIO]


def options(draft: Draft) -> Iterator[Option]:
    """The controller, if there is something on it."""
    spice = draft.spec.display.type is DisplayType.SPICE
    if draft.spec.agent.enabled or consoles(draft.spec) or spice:
        yield device({**draft.board.virtio("serial", SLOT_VIRTIO_SERIAL), "id": CONTROLLER})


def port(number: int) -> dict[str, object]:
    """The place of a channel."""
    return {"bus": f"{CONTROLLER}.0", "nr": number}


def console_port(spec: GuestSpec, name: str) -> dict[str, object]:
    """The place of a console. Raises SpecError when there are too many."""
    index = consoles(spec).index(name)
    if index >= len(PORTS_CONSOLE):
        raise SpecError(f"there is room for {len(PORTS_CONSOLE)} virtio consoles, and no more")
    return port(PORTS_CONSOLE[index])
