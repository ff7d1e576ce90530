"""Doing something to many, each after those that it depends on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping


async def in_order(
    after: Mapping[str, tuple[str, ...]],
    act: Callable[[str], Awaitable[None]],
    waiting: dict[str, set[str]],
) -> None:
    """Call ``act`` for every key of ``after``, once those of its values that are keys themselves are done.

    ``waiting`` shows, as long as it is the case, who waits for whom; several calls may share it. The dependencies
    must have no cycle; those of checked guest files have none.
    """
    done = {name: asyncio.Event() for name in after}

    async def one(name: str) -> None:
        try:
            for other in after[name]:
                if other in done and not done[other].is_set():
                    with _shown(waiting, name, other):
                        await done[other].wait()
            await act(name)
        finally:
            done[name].set()

    async with asyncio.TaskGroup() as tasks:
        for name in after:
            tasks.create_task(one(name))


@contextlib.contextmanager
def _shown(waiting: dict[str, set[str]], name: str, other: str) -> Iterator[None]:
    waiting.setdefault(name, set()).add(other)
    try:
        yield
    finally:
        # Another call that waits for the same may have been faster.
        others = waiting.get(name, set())
        others.discard(other)
        if not others:
            waiting.pop(name, None)
