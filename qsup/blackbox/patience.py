"""Work that the kernel may hold up for ever, such as a look at a file system whose server is gone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PLACES: Final = threading.BoundedSemaphore(4)
"""How much of such work is done, or hangs, at one time."""


async def patiently(work: Callable[[], T], deadline: float, places: threading.BoundedSemaphore = PLACES) -> T:
    """Do the work in a thread and return its result. Raises TimeoutError after ``deadline`` seconds, or its error.

    The thread of work that hangs is left to it. It is not one of asyncio's own: those are few, others need them,
    and the daemon could not leave before the last of them has ended.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def run() -> None:
        if not places.acquire(timeout=deadline):
            return
        try:
            outcome = partial(future.set_result, work())
        except Exception as raised:
            outcome = partial(future.set_exception, raised)
        finally:
            places.release()
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, daemon=True, name="patience").start()
    async with asyncio.timeout(deadline):
        return await future
