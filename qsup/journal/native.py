"""The journal's native protocol: an entry is one datagram of fields, or a sealed file in memory if it is too large.

See "Native Journal Protocol" in systemd's documentation (``docs/JOURNAL_NATIVE_PROTOCOL``). Values may hold anything:
one with a line break is sent with its length before it, so nobody's words can become another field.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "qsupd"
VALUE: Final = 256 << 10
"""Bytes of a value that are sent."""
WAITING: Final = 2000
"""Entries that wait while the journal takes none, as when more are said at once than its queue holds."""
ROOM: Final = 4 << 20
"""Bytes that they may have together."""
BUFFER: Final = 8 << 20
"""Bytes that the kernel may hold of ours, as libsystemd asks for; without that right it holds some 150 entries."""
PARTING: Final = 1.0
"""Seconds that the journal has for what waits when the daemon leaves."""
_CUT: Final = "… (cut)".encode()
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_SO_SNDBUFFORCE: Final = 32
"""As socket(7) has it, and Python's module has not."""


def is_journal(fd: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to an fd goes to the journal: ``JOURNAL_STREAM`` of systemd.exec(5) names that file."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        file = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(file.st_dev), str(file.st_ino))


def encode(fields: Mapping[str, str]) -> bytes:
    """An entry as it is sent. The names are ours, the values anybody's."""
    return b"".join(_field(name.encode(), value) for name, value in fields.items())


def _field(name: bytes, value: str) -> bytes:
    # A surrogate stands for a byte that was no UTF-8; the journal takes bytes.
    data = value.encode(errors="surrogateescape")
    if len(data) > VALUE:
        data = data[: VALUE - len(_CUT)] + _CUT
    if b"\n" not in data:
        return name + b"=" + data + b"\n"
    return name + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


class Journal:
    """Sends entries and never waits for the journal. Any thread may send."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
        self._waiting: deque[bytes] = deque()
        self._room = ROOM
        self._lost = 0
        self._watched = False
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have a loop send what waits as soon as the journal takes it."""
        with self._lock:
            self._loop = loop

    def send(self, fields: Mapping[str, str]) -> None:
        """Send an entry, or keep it until the journal takes more. Raises OSError if there is no journal."""
        data = encode(fields)
        with self._lock:
            self._flush()
            if self._waiting or not self._sent(data):
                self._keep(data)

    def close(self) -> None:
        """Give what waits a last moment, and hang up."""
        with self._lock, contextlib.suppress(OSError):
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            while self._waiting and poll.poll(PARTING * 1000):
                self._flush()
        self._socket.close()

    def _keep(self, data: bytes) -> None:
        if len(self._waiting) >= WAITING or len(data) > self._room:
            self._lost += 1
            return
        self._waiting.append(data)
        self._room -= len(data)
        if self._loop is not None and not self._watched:
            with contextlib.suppress(RuntimeError):  # It has ended.
                self._loop.call_soon_threadsafe(self._watch)
                self._watched = True

    def _watch(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        with self._lock:
            gone = False
            try:
                self._flush()
            except OSError:
                # The next entry finds out whether it is there again.
                gone = True
            if self._loop is not None and (gone or not self._waiting):
                self._loop.remove_writer(self._socket)
                self._watched = False

    def _flush(self) -> None:
        """Send what waits, in order, as far as it is taken. Raises OSError if there is no journal."""
        while self._waiting and self._sent(self._waiting[0]):
            self._room += len(self._waiting.popleft())
        if self._lost and not self._waiting and self._sent(encode(_loss(self._lost))):
            self._lost = 0

    def _sent(self, data: bytes) -> bool:
        """Whether the journal has taken it. Raises OSError if there is none."""
        try:
            return self._try(data)
        except OSError:
            # It is not connected yet, or the journal was started anew on another socket.
            self._socket.connect(self._path)
            return self._try(data)

    def _try(self, data: bytes) -> bool:
        try:
            self._socket.send(data)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            return _send_file(self._socket, data)
        return True


def _loss(count: int) -> dict[str, str]:
    return {
        "MESSAGE": f"the journal took nothing for a while: {count} entries of this daemon's were lost",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }


def _send_file(to: socket.socket, data: bytes) -> bool:
    """Send an entry as a file that nobody can change any more; whether it was taken."""
    fd = os.memfd_create("qsup-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        try:
            socket.send_fds(to, [b""], [fd])
        except BlockingIOError:
            return False
    return True
