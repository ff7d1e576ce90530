"""The connection to one serial port of a running QEMU."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from qsup.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

RATE: Final = float(1 << 20)
"""Bytes a second that are read from one port; a hundred times what 115200 baud can carry."""
BURST: Final = float(256 << 10)
READ_COST: Final = 512
"""Bytes that a read counts for beside its data: ports print byte by byte, and each read costs time of its own."""


class Port(asyncio.Protocol):
    """Hands over what the guest prints at a bounded rate, and knows when all that was typed has left.

    Not reading is harmless: QEMU holds back or drops what its guest prints meanwhile, and the guest runs on.
    """

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self.ended = False
        self._on_output = on_output
        self._loop = asyncio.get_running_loop()
        self._bucket = Bucket(RATE, BURST)
        self._resumption: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._empty = asyncio.Event()
        self._empty.set()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: the port is connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: the guest has printed."""
        self._on_output(data)
        wait = self._bucket.take(self._loop.time(), READ_COST + len(data))
        if wait:
            self._transport.pause_reading()
            self._resumption = self._loop.call_later(wait, self._transport.resume_reading)

    def pause_writing(self) -> None:
        """Called by asyncio: QEMU does not take what is typed."""
        self._empty.clear()

    def resume_writing(self) -> None:
        """Called by asyncio: everything has left."""
        self._empty.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Called by asyncio: QEMU has closed the port or has ended, or we have hung up."""
        self.ended = True
        if self._resumption is not None:
            self._resumption.cancel()
        self._empty.set()
        self._gone.set()

    async def write(self, data: bytes) -> bool:
        """Write when everything before has left, and wait until this has as well; False if the port has ended."""
        await self._empty.wait()
        if not self.ended:
            self._transport.write(data)
            await self._empty.wait()
        return not self.ended

    async def hang_up(self) -> None:
        """Close, without waiting for a peer that does not read."""
        self._transport.abort()
        await self._gone.wait()
