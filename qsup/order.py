"""Doing something to many, each after those that it depends on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


async def in_order(
    after: Mapping[str, tuple[str, ...]],
    act: Callable[[str], Awaitable[None]],
    waiting: dict[str, set[str]],
) -> None:
    """Call ``act`` for every key of ``after``, once those of its values that are keys themselves are done.

    ``waiting`` shows, as long as it is the case, who waits for whom. The dependencies must have no cycle; those
    of checked guest files have none.
    """
    done = {name: asyncio.Event() for name in after}

    async def one(name: str) -> None:
        try:
            for other in after[name]:
                if other in done and not done[other].is_set():
                    waiting.setdefault(name, set()).add(other)
                    await done[other].wait()
                    waiting[name].discard(other)
            waiting.pop(name, None)
            await act(name)
        finally:
            waiting.pop(name, None)
            done[name].set()

    async with asyncio.TaskGroup() as tasks:
        for name in after:
            tasks.create_task(one(name))
