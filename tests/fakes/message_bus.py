"""A message bus of one's own, by the real dbus-daemon, and services on it that answer as a test wants."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIGURATION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/> <allow eavesdrop="true"/> <allow own="*"/>
  </policy>
</busconfig>
"""

Answer = Callable[[Any], Any]
"""From a call to the message that answers it; None leaves it unanswered."""


class MessageBus:
    """The daemon; it may be ended and started again."""

    def __init__(self, root: Path) -> None:
        self.socket = root / "bus"
        self.address = f"unix:path={self.socket}"
        self._config = root / "bus.conf"
        self._config.write_text(CONFIGURATION.format(socket=self.socket))
        self._daemon: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        binary = shutil.which("dbus-daemon")
        if binary is None:
            pytest.skip("dbus-daemon is not installed; apt-get install dbus")
        self.socket.unlink(missing_ok=True)
        words = [binary, f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address=1"]
        self._daemon = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline().startswith("unix:"), "dbus-daemon does not start"

    def stop(self) -> None:
        """End it, as no host would."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            if self._daemon.stdout is not None:
                self._daemon.stdout.close()
            self._daemon = None


@contextlib.contextmanager
def message_bus(root: Path) -> Iterator[MessageBus]:
    """A bus below a directory."""
    bus = MessageBus(root)
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


@contextlib.asynccontextmanager
async def service(bus: MessageBus, name: str | None, answer: Answer) -> AsyncIterator[Any]:
    """A service of this name, or a client without one; yields its connection, of dbus-fast's own kind."""
    from dbus_fast import MessageType
    from dbus_fast.aio import MessageBus as Client

    client = await Client(bus.address, negotiate_unix_fd=True).connect()

    def take(message: Any) -> Any:
        # What is not answered here, dbus-fast would refuse by itself.
        return (answer(message) or True) if message.message_type is MessageType.METHOD_CALL else None

    client.add_message_handler(take)
    if name is not None:
        await client.request_name(name)
    try:
        yield client
    finally:
        client.disconnect()
        with contextlib.suppress(Exception):
            await client.wait_for_disconnect()  # type: ignore[no-untyped-call]
