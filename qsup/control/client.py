"""A small blocking client of the control socket, on the standard library alone."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Self

from qsup import errors
from qsup.errors import DaemonUnreachable, NotAllowed, QsupError

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDSHAKE: Final = 10.0
"""How long connecting and negotiating may take, in seconds."""

_ERRORS: Final = {
    kind.wire_class: kind
    for kind in (
        errors.UsageError,
        errors.GuestNotFound,
        errors.NotAllowed,
        errors.TimedOut,
        errors.Refused,
        errors.SpecError,
    )
}


def error_of(error: dict[str, Any]) -> QsupError:
    """The exception that an ``{"class", "desc"}`` stands for."""
    return _ERRORS.get(error["class"], QsupError)(error["desc"])


class Client:
    """A negotiated connection; a context manager. Raises QsupError only, by the classes of :mod:`qsup.errors`."""

    def __init__(self, path: str, handshake: float = HANDSHAKE) -> None:
        self._path = path
        self._buffer = bytearray()
        self._events: list[dict[str, Any]] = []
        self._deadline: float | None = time.monotonic() + handshake
        self._socket = self._connected()
        try:
            self._negotiate()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, command: str, arguments: dict[str, Any], timeout: float | None = HANDSHAKE) -> Any:
        """Execute a command and return its answer; ``timeout`` in seconds, None to wait as long as it takes."""
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._send({"execute": command, "arguments": arguments})
        return self._answer()

    def events(self) -> Iterator[dict[str, Any]]:
        """The events as they come, those that came during commands first, until the daemon goes away."""
        self._deadline = None
        while True:
            while self._events:
                yield self._events.pop(0)
            message = self._message()
            if "event" in message:
                yield message

    def take_over(self) -> tuple[socket.socket, bytes]:
        """The blocking socket itself and what was read from it already, once a console is attached."""
        self._socket.settimeout(None)
        return self._socket, bytes(self._buffer)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._left())
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise self._cannot_connect(error) from error
        return connection

    def _cannot_connect(self, error: OSError) -> QsupError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return NotAllowed(
                f"not allowed to use {self._path}: it lets in root, the daemon's own user, and those to whom an"
                " [[access]] in the daemon's qsup.toml grants something; without one, the group qsup."
                " Who has just become a member of a group has to log in again"
            )
        reason = error.strerror or str(error)
        whose = "--user " if os.geteuid() else ""
        return DaemonUnreachable(
            f"no daemon answers at {self._path}: {reason}; start it with `systemctl {whose}start qsupd` or `qsupd`, "
            "or name its socket with --socket or QSUP_SOCKET"
        )

    def _negotiate(self) -> None:
        greeting = self._message()
        if "error" in greeting:
            raise error_of(greeting["error"])
        if "QMP" not in greeting:
            raise DaemonUnreachable(f"what answers at {self._path} is not qsupd")
        self._send({"execute": "qmp_capabilities"})
        self._answer()

    def _answer(self) -> Any:
        while True:
            message = self._message()
            if "error" in message:
                raise error_of(message["error"])
            if "return" in message:
                return message["return"]
            self._events.append(message)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            # What the daemon said before it closed tells more than the broken pipe; _message will come to it.
            if not isinstance(error, ConnectionError):
                raise self._gone(error) from error

    def _message(self) -> dict[str, Any]:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            try:
                self._socket.settimeout(self._left())
                data = self._socket.recv(65536)
            except OSError as error:
                raise self._gone(error) from error
            if not data:
                raise self._gone(None)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise DaemonUnreachable(f"what answers at {self._path} is not qsupd") from error
        return message if isinstance(message, dict) else {}

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        # Zero would mean a socket that does not wait at all.
        return max(self._deadline - time.monotonic(), 0.001)

    def _gone(self, error: OSError | None) -> QsupError:
        if isinstance(error, TimeoutError):
            return DaemonUnreachable(
                f"the daemon at {self._path} does not answer in time; what was asked may still happen"
            )
        return DaemonUnreachable(
            f"the daemon at {self._path} went away before it answered; what was asked may still happen"
        )
