"""Threads for what may hang and cannot be cancelled: looking up a name, say.

They are none of asyncio's own, which guests need as they start and which the daemon would wait for as it leaves.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class TooMany(Exception):
    """As many calls as may be under way are so already, or there is no thread to be had."""


class Threads:
    """Calls functions in threads that nobody has to wait for; no more than ``most`` at one time."""

    def __init__(self, most: int, name: str) -> None:
        self._name = name
        self._free = threading.BoundedSemaphore(most)

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises. Raises TooMany at once."""
        if not self._free.acquire(blocking=False):
            raise TooMany
        result: Future[T] = Future()
        # Whoever does not wait any more must not take away the place for what the thread returns.
        result.set_running_or_notify_cancel()
        try:
            threading.Thread(target=self._work, args=(function, result), name=self._name, daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise TooMany from None
        return await asyncio.wrap_future(result)

    def _work(self, function: Callable[[], T], result: Future[T]) -> None:
        try:
            value = function()
        except BaseException as error:
            self._free.release()
            result.set_exception(error)
        else:
            self._free.release()
            result.set_result(value)
