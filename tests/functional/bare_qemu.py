"""A QEMU without qsup: one process, its QMP and its sockets, driven in plain blocking calls.

The sample guests are tried with it, so that what they are known to do does not depend on the code that they are
there to test.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

DEADLINE = 60.0
"""Seconds until a wait is given up; a loaded machine under TCG is slow, and a hanging guest never comes."""


class Line:
    """One end of a stream to QEMU. Remembers all that came, and finds the next occurrence of a text in it.

    ``group`` holds all lines of one QEMU. Whoever waits on one reads the others, too: a guest whose serial port
    nobody reads comes to a halt in the middle of what it has to say.
    """

    def __init__(self, group: list[Line]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.seen = b""
        self.ended = False
        self._read_to = 0
        self._group = group
        group.append(self)

    def fileno(self) -> int:
        return self.ours.fileno()

    def send(self, data: bytes) -> None:
        self.ours.sendall(data)

    def expect(self, wanted: bytes, deadline: float = DEADLINE) -> bytes:
        """Wait for ``wanted`` behind what was expected before; return what came up to its end."""
        until = time.monotonic() + deadline
        while (at := self.seen.find(wanted, self._read_to)) < 0:
            open_lines = [line for line in self._group if not line.ended]
            readable = select.select(open_lines, [], [], max(0.0, until - time.monotonic()))[0]
            if self.ended or not readable:
                raise AssertionError(f"{wanted!r} did not come; after the last match came {self.rest()!r}")
            for line in readable:
                line.receive()
        start, self._read_to = self._read_to, at + len(wanted)
        return self.seen[start : self._read_to]

    def receive(self) -> None:
        """Take what has come; to be called when there is something to read."""
        try:
            chunk = self.ours.recv(65536)
        except ConnectionResetError:
            chunk = b""
        self.seen += chunk
        self.ended = not chunk

    def rest(self) -> bytes:
        """What has been received and not been matched yet."""
        return self.seen[self._read_to :]

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class BareQemu:
    """QEMU, running; a context manager that kills it at the end.

    ``serial`` is the first serial port. ``arguments`` follow the options that all test guests share.
    """

    def __init__(self, binary: str, *arguments: str, lines: Sequence[str] = ()) -> None:
        self._group: list[Line] = []
        self.qmp, self.serial = Line(self._group), Line(self._group)
        self.lines = {name: Line(self._group) for name in lines}
        fds = [line.theirs.fileno() for line in self._group]
        command = [
            binary,
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-action", "shutdown=pause,panic=pause"),
            *("-chardev", f"socket,id=qmp,fd={fds[0]}", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"socket,id=serial0,fd={fds[1]}", "-serial", "chardev:serial0"),
        ]
        for name, fd in zip(self.lines, fds[2:], strict=True):
            command += ["-chardev", f"socket,id={name},fd={fd}"]
        self.process = subprocess.Popen([*command, *arguments], stdin=subprocess.DEVNULL, pass_fds=fds)
        for line in self._group:
            line.theirs.close()
        self.events: list[dict[str, Any]] = []
        self._next_message()
        self.execute("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for line in self._group:
            line.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command and give back what it returns; events that come first are kept."""
        self.qmp.send(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (message := self._next_message()):
            assert "event" in message, message
            self.events.append(message)
        return message["return"]

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of this name and give back its data; others before it are dropped."""
        while True:
            message = self.events.pop(0) if self.events else self._next_message()
            if message["event"] == name:
                data: dict[str, Any] = message.get("data", {})
                return data

    def status(self) -> str:
        """The run state, as ``query-status`` names it."""
        status: str = self.execute("query-status")["status"]
        return status

    def wait(self) -> int:
        """Wait until QEMU has exited; its exit status, as Popen gives it."""
        return self.process.wait(DEADLINE)

    def _next_message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.qmp.expect(b"\r\n"))
        return message
