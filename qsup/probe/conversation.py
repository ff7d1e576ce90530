"""One QEMU without a guest, and the QMP conversation with it: blocking, bounded in time and size.

QEMU is believed no more here than when it runs a guest: the binary may be a wrapper, broken, or not QEMU at all.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import msgspec

from qsup.errors import LaunchError
from qsup.spawn.child import Child
from qsup.spec.problem import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLY_LIMIT: Final = 8 << 20
"""Bytes of one line; QEMU 10's schema has some 230 kB."""
TALK_LIMIT: Final = 64 << 20
"""Bytes of a whole conversation; all that is asked comes to about 1 MB."""
WORDS_LIMIT: Final = 4096
"""Bytes of what QEMU prints that are kept, the last ones."""
MONITOR: Final = 3
LEASE: Final = 4
"""Numbers of fds that QEMU gets."""
PATIENCE: Final = 2.0
"""Seconds that QEMU has to leave when told to, before it is killed."""
ENVIRONMENT: Final = ("PATH", "QEMU_MODULE_DIR", "LD_LIBRARY_PATH")
"""What QEMU gets to see of our environment, where it is set."""

T = TypeVar("T")


class Bounds(NamedTuple):
    """When to give up."""

    deadline: float
    """A point of the monotonic clock."""
    stop: int | None = None
    """An fd that is readable once nobody waits for the answers any more."""

    def left(self, most: float = math.inf) -> float:
        """Seconds that something may still take."""
        return min(most, max(0.0, self.deadline - time.monotonic()))


def environment() -> dict[str, str]:
    """What a QEMU that is asked gets to see of our environment."""
    return {**{name: os.environ[name] for name in ENVIRONMENT if name in os.environ}, "LANG": "C.UTF-8"}


class DiedError(Exception):
    """QEMU has hung up. The message is what it said, or how it ended."""


class _Error(msgspec.Struct):
    desc: str = ""


class _Reply(msgspec.Struct, rename={"value": "return"}):
    value: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None
    event: Any = None
    greeting: Any = msgspec.field(name="QMP", default=None)


class Conversation:
    """A context manager: QEMU is started with the given options, and is gone when it is left.

    Raises LaunchError if the binary cannot be executed, breaks the protocol or runs out of time, and DiedError if
    QEMU ends before it is told to.
    """

    def __init__(self, binary: str, options: Sequence[str], bounds: Bounds) -> None:
        self._binary = binary
        self._bounds = bounds
        self._heard = 0
        self._buffer = b""
        self._words = b""
        self._sock, theirs = socket.socketpair()
        self._lease, end = socket.socketpair()
        with theirs, end:
            monitor = ["-chardev", f"socket,id=probe,fd={MONITOR}", "-mon", "chardev=probe,mode=control"]
            # It waits for a guest that never comes, and ends by itself once nobody is left who could send one.
            lease = ["-incoming", f"fd:{LEASE}"]
            fds = {MONITOR: theirs.fileno(), LEASE: end.fileno()}
            try:
                self._process, output = Child.printing(
                    [binary, *options, *monitor, *lease], environment(), fds, errors=True
                )
            except LaunchError:
                self._sock.close()
                self._lease.close()
                raise
        self._output = open(output, "rb", buffering=0)  # noqa: SIM115 - closed as the conversation is left
        self._sock.setblocking(False)
        os.set_blocking(output, False)

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            if self._next().greeting is None:
                raise self._nonsense("does not greet as QMP does")
            self.ask("qmp_capabilities")
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, trouble: type[BaseException] | None = None, *_: object) -> None:
        if trouble is None:
            with contextlib.suppress(OSError):
                self._sock.send(b'{"execute": "quit"}')
                # It has next to nothing to print, so it cannot get stuck in that.
                self._process.wait(PATIENCE)
        # A wrapper script may have started QEMU beside itself.
        self._process.end()
        self._output.close()
        self._sock.close()
        self._lease.close()

    def ask(self, command: str, **arguments: object) -> bytes | None:
        """The value that a command returns, as JSON; None if QEMU refuses the command."""
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self._send(msgspec.json.encode(request))
        while (reply := self._next()).event is not None:
            pass
        if reply.error is not None:
            return None
        if not bytes(reply.value):
            raise self._nonsense(f"answers {command} with neither a value nor an error")
        return bytes(reply.value)

    def query(self, kind: type[T], command: str, **arguments: object) -> T | None:
        """The value that a command returns; None if QEMU refuses the command. Raises LaunchError for another type."""
        value = self.ask(command, **arguments)
        try:
            return None if value is None else msgspec.json.decode(value, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._nonsense(f"answers {command} in a form that is not QEMU's") from None

    def _next(self) -> _Reply:
        line = self._line()
        try:
            return msgspec.json.decode(line, type=_Reply)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._nonsense("does not speak QMP") from None

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._wait(select.POLLIN)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError:
                raise self._died() from None

    def _wait(self, event: int) -> None:
        """Wait until the socket is ready, and take what has come meanwhile."""
        left = self._bounds.left()
        poll = select.poll()
        if self._bounds.stop is not None:
            poll.register(self._bounds.stop, select.POLLIN)
        poll.register(self._sock, event)
        if not self._output.closed:
            poll.register(self._output, select.POLLIN)
        ready = dict(poll.poll(left * 1000)) if left > 0 else {}
        if not ready:
            raise LaunchError(self._told("does not answer in time"))
        if self._bounds.stop in ready:
            raise LaunchError(self._told("has not answered yet, and nobody waits for the answer any more"))
        self._listen()
        if ready.get(self._sock.fileno(), 0) & select.POLLIN:
            self._receive()
        elif ready.get(self._sock.fileno(), 0) & (select.POLLHUP | select.POLLERR):
            raise self._died()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            raise self._died()
        self._heard += len(data)
        self._buffer += data
        if self._heard > TALK_LIMIT or len(self._buffer) > REPLY_LIMIT:
            raise self._nonsense("sends more than QEMU has to say")

    def _listen(self) -> None:
        """Take what QEMU prints, and forget all but the end of it."""
        if self._output.closed:
            return
        data = self._output.read(1 << 16)
        if data:
            self._words = (self._words + data)[-WORDS_LIMIT:]
        elif data is not None:
            self._output.close()

    def _died(self) -> DiedError:
        """Why it hung up: it is given the time to end, so that its last words are there."""
        status = self._process.wait(self._bounds.left(PATIENCE))
        self._listen()
        if status is None:
            return DiedError(self._told("closes QMP"))
        how = "ends with status" if status.how == "exit" else "is ended by signal"
        return DiedError(self._told(f"{how} {status.number}"))

    def _nonsense(self, what: str) -> LaunchError:
        return LaunchError(
            self._told(f"{what}: it seems to be no QEMU"), self._words.decode(errors="replace")
        )

    def _told(self, what: str) -> str:
        lines = [clipped(line) for line in self._words.decode(errors="replace").splitlines() if line.strip()]
        said = f"; it says: {'; '.join(lines[-3:])}" if lines else ""
        return f"{self._binary}, asked what it can do, {what}{said}"
