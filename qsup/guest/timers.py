"""The timers of one guest, by name: one that is armed again starts anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """``due`` is called with a timer's name when it has run out."""

    def __init__(self, due: Callable[[str], None]) -> None:
        self._due = due
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def arm(self, name: str, seconds: float) -> None:
        """Start a timer, or start it anew."""
        self.cancel(name)
        self._handles[name] = asyncio.get_running_loop().call_later(seconds, self._due, name)

    def cancel(self, name: str) -> None:
        """Stop a timer, if it runs."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Stop all."""
        for name in tuple(self._handles):
            self.cancel(name)
