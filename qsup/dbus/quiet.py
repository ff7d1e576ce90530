"""dbus-fast's connection, to which the loss of a bus is no surprise. Loaded when there is something to say."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from dbus_fast.aio import MessageBus

if TYPE_CHECKING:
    from dbus_fast import Message


class QuietBus(MessageBus):
    """As it comes, it makes a future of every message and forgets it, which asyncio complains of if sending fails.

    And it raises there, beside telling whoever waits for the answer. ``_writer`` is not public, so a test holds it to
    this.
    """

    def send(self, msg: Message) -> asyncio.Future[Any]:  # type: ignore[override]  # as MessageBus does to its base
        """Send a message; whoever waits for its answer is told if that is not possible."""
        if not msg.serial:
            msg.serial = self.next_serial()
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sent.add_done_callback(_forget)
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.schedule_write(msg, sent)
        return sent


def _forget(sent: asyncio.Future[Any]) -> None:
    """Take note, so that nobody complains."""
    if not sent.cancelled():
        sent.exception()
