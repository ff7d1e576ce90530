"""What a pidfd tells without anybody's help: that its process has ended."""

from __future__ import annotations

import asyncio
import select


def has_ended(pidfd: int, seconds: float = 0) -> bool:
    """Whether the process ends in this time, be it reaped or not. Blocks so long."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


async def end_of(pidfd: int) -> None:
    """Wait until the process has ended. The pidfd must stay open meanwhile."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)
