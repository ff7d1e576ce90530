"""The supervisor's end of one serial port: a log, and any number of viewers.

QEMU serves one client on the port's socket, so the supervisor is that client, all the time. What the guest prints
goes to the log and to every viewer; what a viewer types goes to the guest. A guest that prints without end is read
only so fast, and a viewer that does not read loses the oldest of it: neither costs the others anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from qsup.errors import QsupError
from qsup.qmp import endpoint
from qsup.qmp.bucket import Bucket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path

    from qsup.proc.rotated import RotatedLog

CHUNK: Final = 16 << 10
RATE: Final = 64.0
"""Chunks a second that are read from one port: 1 MiB/s, a hundred times what 115200 baud can carry."""
BURST: Final = 64.0
VIEWER_LIMIT: Final = 64 << 10
"""Bytes that wait for a viewer before the oldest are dropped."""
WRITE_PATIENCE: Final = 5.0
"""Seconds that a guest may take to accept what is typed."""


class Viewer:
    """An asynchronous iterator over what the guest prints; it goes on when the guest is started again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._closed = False

    def __enter__(self) -> Viewer:
        self._console.viewers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._console.viewers.discard(self)

    def offer(self, data: bytes) -> None:
        """More output; the oldest goes if the viewer does not keep up."""
        self._chunks.append(data)
        self._size += len(data)
        while self._size > VIEWER_LIMIT and len(self._chunks) > 1:
            self._size -= len(self._chunks.popleft())
        self._news.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                data = self._chunks.popleft()
                self._size -= len(data)
                yield data
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()


class Console:
    """One serial port of one guest, through all its runs."""

    def __init__(self, name: str, log: RotatedLog | None) -> None:
        self.name = name
        self.viewers: set[Viewer] = set()
        self._log = log
        self._sock: socket.socket | None = None
        self._drain: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether a QEMU is at the other end."""
        return self._sock is not None

    async def connect(self, directory: Path, file: str) -> None:
        """Connect to QEMU's socket and drain it until it ends. Raises QmpLost if nobody listens."""
        await self._hang_up()
        self._sock = await endpoint.connect(directory, file)
        self._drain = asyncio.create_task(self._read(self._sock))

    def attach(self) -> Viewer:
        """A new viewer; use it as a context manager."""
        return Viewer(self)

    async def write(self, data: bytes) -> None:
        """Type into the port. Raises QsupError if no QEMU is there, or it does not take the data."""
        loop = asyncio.get_running_loop()
        async with self._writing:
            if self._sock is None:
                raise QsupError(f"{self.name}: the guest does not run")
            try:
                async with asyncio.timeout(WRITE_PATIENCE):
                    await loop.sock_sendall(self._sock, data)
            except TimeoutError:
                raise QsupError(f"{self.name}: the guest does not read its serial port") from None
            except OSError as error:
                raise QsupError(f"{self.name}: the serial port is gone: {error.strerror}") from error

    def tail(self, limit: int) -> bytes:
        """The last bytes of the log; empty without one."""
        return self._log.tail(limit) if self._log else b""

    async def close(self) -> None:
        """Hang up and let the viewers go."""
        await self._hang_up()
        for viewer in tuple(self.viewers):
            viewer.close()
        if self._log is not None:
            self._log.close()

    async def _read(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        bucket = Bucket(RATE, BURST)
        with contextlib.suppress(OSError), contextlib.closing(sock):
            while data := await loop.sock_recv(sock, CHUNK):
                if self._log is not None:
                    self._log.append(data)
                for viewer in tuple(self.viewers):
                    viewer.offer(data)
                await asyncio.sleep(bucket.take(loop.time()))
        self._sock = None

    async def _hang_up(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
            self._drain = None
        self._sock = None
