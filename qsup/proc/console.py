"""The supervisor's end of one serial port: a log, any number of viewers, and those who listen for something.

QEMU serves one client on the port's socket, so the supervisor is that client, all the time. What the guest prints
goes to the log and to every viewer; what a viewer types goes to the guest. A guest that prints without end is read
only so fast, and a viewer that does not read loses the oldest of it: neither costs the others anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from qsup import endpoint
from qsup.errors import QsupError
from qsup.proc.port import Port
from qsup.proc.printed import Printed
from qsup.proc.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qsup.proc.rotated import RotatedLog

WRITE_PATIENCE: Final = 5.0
"""Seconds that a guest may take to accept what is typed."""


class Console:
    """One serial port of one guest, through all its runs. ``name`` is what messages call it: ``web1/console``."""

    def __init__(self, name: str, log: RotatedLog | None) -> None:
        self.name = name
        self.last_output: float | None = None
        """When the guest has last printed something, on the loop's clock; None: not in this daemon's time."""
        self._log = log
        self._printed = Printed(log)
        self._viewers: set[Viewer] = set()
        self._listeners: list[Callable[[bytes], None]] = []
        self._port: Port | None = None
        self._connecting = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether a QEMU is at the other end."""
        return self._port is not None and not self._port.ended

    async def connect(self, directory: Path, file: str) -> None:
        """Connect to QEMU's socket and drain it until it ends. Raises QmpLost if nobody listens."""
        async with self._connecting:
            await self._hang_up()
            sock = await endpoint.connect(directory, file)
            self._printed.begin(directory, file)
            loop = asyncio.get_running_loop()
            _, self._port = await loop.create_unix_connection(lambda: Port(self._output), sock=sock)

    def attach(self) -> Viewer:
        """A new viewer of what is printed from now on; use it as a context manager."""
        viewer = Viewer(self._viewers)
        if self._closed:
            viewer.close()
        return viewer

    @contextlib.contextmanager
    def listening(self, hear: Callable[[bytes], None]) -> Iterator[None]:
        """Call ``hear`` with all that is printed while the context is open, as it comes. It must not raise."""
        self._listeners.append(hear)
        try:
            yield
        finally:
            self._listeners.remove(hear)

    async def write(self, data: bytes) -> None:
        """Type into the port. Raises QsupError if no QEMU is there, or it does not take the data in time."""
        port = self._port
        if port is None or port.ended:
            raise QsupError(f"{self.name}: the guest does not run")
        try:
            async with asyncio.timeout(WRITE_PATIENCE), self._writing:
                taken = await port.write(data)
        except TimeoutError:
            raise QsupError(f"{self.name}: the guest does not read its serial port") from None
        if not taken:
            raise QsupError(f"{self.name}: the guest ended before it took what was typed")

    def tail(self, limit: int) -> bytes:
        """The last bytes of the log; empty without one."""
        return self._log.tail(limit) if self._log else b""

    def printed(self, limit: int) -> bytes:
        """The last bytes of what the present run has printed, as far as they are kept; empty before the first."""
        return self._printed.tail(limit)

    async def close(self) -> None:
        """Hang up and let the viewers go. May be called again."""
        self._closed = True
        async with self._connecting:
            await self._hang_up()
        for viewer in self._viewers:
            viewer.close()
        if self._log is not None:
            self._log.close()

    def _output(self, data: bytes) -> None:
        self.last_output = asyncio.get_running_loop().time()
        if self._log is not None:
            self._log.append(data)
        self._printed.add(data)
        for hear in tuple(self._listeners):
            hear(data)
        for viewer in self._viewers:
            viewer.offer(data)

    async def _hang_up(self) -> None:
        if self._port is not None:
            await self._port.hang_up()
            self._port = None
