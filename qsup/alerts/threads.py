"""Threads for what may hang and cannot be cancelled: looking up a name, say.

They are none of asyncio's own, which guests need as they start and which the daemon would wait for as it leaves.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from qsup.alerts.way import DeliveryFailed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Threads:
    """Calls functions in threads that nobody has to wait for; no more than ``most`` at one time."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises. Raises DeliveryFailed at once if too many hang already."""
        if not self._free.acquire(blocking=False):
            raise DeliveryFailed("too many others wait for the name service already", again=True)
        result: Future[T] = Future()
        threading.Thread(target=self._work, args=(function, result), name="alert", daemon=True).start()
        return await asyncio.wrap_future(result)

    def _work(self, function: Callable[[], T], result: Future[T]) -> None:
        result.set_running_or_notify_cancel()
        try:
            value = function()
        except BaseException as error:
            self._free.release()
            result.set_exception(error)
        else:
            self._free.release()
            result.set_result(value)
