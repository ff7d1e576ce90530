"""The guest agent's channel: a virtio port on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_VIRTIO_SERIAL
from qsup.argv.invocation import AGENT_FILE, Option
from qsup.argv.quote import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

CHANNEL: Final = "org.qemu.guest_agent.0"
"""The name by which agents find the port in the guest."""
CONTROLLER: Final = "virtio-serial"


def options(draft: Draft) -> Iterator[Option]:
    """Port 1: port 0 is kept for a virtio console."""
    if not draft.spec.agent.enabled:
        return
    yield device({**draft.board.virtio("serial", SLOT_VIRTIO_SERIAL), "id": CONTROLLER})
    yield Option("-chardev", draft.socket("agent", AGENT_FILE))
    port = {"driver": "virtserialport", "bus": f"{CONTROLLER}.0", "nr": 1}
    yield device({**port, "id": "agent", "chardev": "agent", "name": CHANNEL})
