"""The least that speaks QMP, for both sides: on QEMU's monitor and on the daemon's control socket."""

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
        self._sent = 0

    def negotiate(self) -> None:
        """Wait for the greeting, leave the negotiation mode."""
        while "QMP" not in self._message():
            pass
        self.execute("qmp_capabilities")

    def send(self, command: str, **arguments: str) -> int:
        """Send a command; its id. Whether it worked is seen by an event."""
        self._sent += 1
        request = {"execute": command, "arguments": arguments, "id": self._sent}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self._sent

    def execute(self, command: str, **arguments: str) -> Any:
        """Send a command; what it returned. Messages that come before are dropped."""
        sent = self.send(command, **arguments)
        while (answer := self._message()).get("id") != sent:
            pass
        return answer["return"]

    def event(self, name: str, /, **data: str) -> None:
        """Wait for an event with these data. Messages that come before are dropped."""
        while not _is_event(self._message(), name, data):
            pass

    def close(self) -> None:
        self._socket.close()

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            received = self._socket.recv(65536)
            assert received, "the connection was closed"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        assert "error" not in message, message
        return message


def _is_event(message: dict[str, Any], name: str, data: dict[str, str]) -> bool:
    found = message.get("data", {})
    return message.get("event") == name and all(found.get(key) == value for key, value in data.items())
