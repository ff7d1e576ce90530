"""One reader of a serial port, who must not slow down the guest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VIEWER_LIMIT: Final = 64 << 10
"""Bytes that wait for a viewer before the oldest are dropped."""


class Viewer:
    """An asynchronous iterator over what the guest prints; it goes on when the guest is started again.

    Use it as a context manager: it is in ``audience`` as long as the context is open.
    """

    def __init__(self, audience: set[Viewer]) -> None:
        self._audience = audience
        self._unread = bytearray()
        self._news = asyncio.Event()
        self._closed = False

    def __enter__(self) -> Viewer:
        self._audience.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._audience.discard(self)
        self.close()

    def offer(self, data: bytes) -> None:
        """More output; the oldest goes if the viewer does not keep up."""
        self._unread += data
        del self._unread[: max(0, len(self._unread) - VIEWER_LIMIT)]
        self._news.set()

    def close(self) -> None:
        """No more will come: the iteration ends after what is still unread."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._unread:
                data = bytes(self._unread)
                self._unread.clear()
                yield data
            if self._closed:
                return
