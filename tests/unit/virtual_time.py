"""An event loop whose clock jumps to the next timer as soon as nothing else is to be done."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BEGIN = 1000.0
"""What the clock shows at first."""


class _Selector(selectors.DefaultSelector):
    """Does not wait for a timer, but lets its time come."""

    pass_time: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something that never comes"
            self.pass_time(timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _Selector()
        selector.pass_time = self._pass_time
        self._now = BEGIN
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _pass_time(self, seconds: float) -> None:
        self._now += seconds


def played(scene: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, from ``BEGIN`` on."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(scene)
