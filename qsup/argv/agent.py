"""The guest agent's channel: a virtio port on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv import virtio_serial
from qsup.argv.invocation import AGENT_FILE, Option
from qsup.argv.quote import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

CHANNEL: Final = "org.qemu.guest_agent.0"
"""The name by which agents find the port in the guest."""


def options(draft: Draft) -> Iterator[Option]:
    """The port and its socket."""
    if not draft.spec.agent.enabled:
        return
    yield Option("-chardev", draft.socket("agent", AGENT_FILE))
    port = virtio_serial.port(virtio_serial.PORT_AGENT)
    yield device({"driver": "virtserialport", **port, "id": "agent", "chardev": "agent", "name": CHANNEL})
