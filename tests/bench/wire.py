"""The least that speaks QMP: both sides of a measurement use it, on QEMU's monitor and on the daemon's control socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds for a message; only a failure takes that long."""


class Wire:
    """One connection; ``negotiate`` comes first, and may wait for a server that is still starting."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._unread = b""

    def negotiate(self) -> None:
        """Wait for the greeting, leave the negotiation mode."""
        self._until("QMP")
        self.execute("qmp_capabilities")

    def send(self, command: str, **arguments: str) -> None:
        """Send a command and leave its answer to be read."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def execute(self, command: str, **arguments: str) -> Any:
        """Send a command; what it returned. Events that come meanwhile are dropped."""
        self.send(command, **arguments)
        return self._until("return")["return"]

    def event(self, name: str, **data: str) -> None:
        """Wait for an event with these data; other messages are dropped."""
        while data.items() - self._until(name).get("data", {}).items():
            pass

    def close(self) -> None:
        self._socket.close()

    def _until(self, word: str) -> dict[str, Any]:
        """The next message that has this key, or is this event."""
        while True:
            message = self._message()
            assert "error" not in message, message
            if word in message or message.get("event") == word:
                return message

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            received = self._socket.recv(65536)
            assert received, "the connection was closed"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
