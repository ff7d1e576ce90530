"""A question to QEMU that is never asked twice at a time, and never taken back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qsup import clock
from qsup.errors import QmpError, QmpLost, QmpRefused
from qsup.vitals.look import PATIENCE

if TYPE_CHECKING:
    from qsup.vitals.look import Session


class Question:
    """One command without arguments, asked over one session again and again."""

    def __init__(self, session: Session, command: str, *, oob: bool = False) -> None:
        self.asked_at: float | None = None
        """When it was asked what has not been answered yet."""
        self.answered_at: float | None = None
        """When the last answer came."""
        self.latency: float | None = None
        """Seconds that the last answer took."""
        self.answer: Any = None
        """The last answer; None if that was a refusal."""
        self.lost = False
        """Whether the session has ended."""
        self._session = session
        self._command = command
        self._oob = oob
        self._task: asyncio.Task[None] | None = None
        self._taken = True

    @property
    def open(self) -> bool:
        """Whether it has been asked and an answer may come."""
        return self._task is not None and not self._task.done()

    def ask(self) -> None:
        """Ask, unless it is open."""
        if not self.open:
            self._task = asyncio.create_task(self._put())

    def take(self) -> bool:
        """Whether there is an answer that has not been taken before."""
        taken, self._taken = self._taken, True
        return not taken

    async def wait(self, patience: float) -> None:
        """Wait for the answer, not longer than so many seconds."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=patience)

    async def drop(self) -> None:
        """Wait for no answer any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _put(self) -> None:
        began = clock.now()
        if self.asked_at is None:
            self.asked_at = began
        try:
            self.answer = await self._session.execute(self._command, deadline=PATIENCE, oob=self._oob)
        except QmpRefused:
            # Who refuses is awake.
            self.answer = None
        except QmpLost:
            self.lost = True
            return
        except QmpError:
            # Nonsense is no answer.
            return
        self.answered_at = clock.now()
        self.latency = self.answered_at - began
        self.asked_at = None
        self._taken = False
