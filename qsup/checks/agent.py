"""Whether a guest's agent answers, and what a program in the guest says of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from qsup.checks.verdict import Failed, Passed, Unable
from qsup.errors import QmpError, QmpGarbled, QmpRefused, QmpUnanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.checks.verdict import Verdict
    from qsup.qmp.agent import Agent, Ended

SOON: Final = 0.05
"""Seconds until a program is looked at once more; each pause is twice as long,"""
SELDOM: Final = 1.0
"""up to this."""
_SICK: Final = re.compile(r"fork|memory|resource temporarily", re.IGNORECASE)
"""In the words with which an agent does not start a program: the guest has nothing left to start it with."""


async def ping(agent: Agent, deadline: float) -> Verdict:
    """``guest-ping``: an answer passes."""
    try:
        await agent.ping(deadline)
    except QmpError as error:
        return _verdict(error)
    return Passed("the guest agent answers")


class Exec:
    """Runs a program in the guest through its agent, again and again: exit status 0 passes.

    An agent cannot end what it has started. So a program that takes too long is looked at first when its turn comes
    again, and not started once more before it has ended: a guest that is stuck does not fill up with them.
    """

    def __init__(self, agent: Agent, command: Sequence[str]) -> None:
        self._agent = agent
        self._command = tuple(command)
        self._pid: int | None = None
        """Of the program that has been started, as long as it is not known to have ended."""

    async def run(self, deadline: float) -> Verdict:
        """Run it once; ``deadline`` is in seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline
        try:
            if await self._still_runs(deadline):
                return Failed(f"{self._command[0]} still runs, since an earlier check")
            self._pid = await self._agent.start(self._command, end - loop.time())
            ended = await self._end(self._pid, end)
        except QmpError as error:
            return _verdict(error)
        if ended is None:
            return Failed(f"{self._command[0]} takes longer than {deadline:g} s")
        return _judged(self._command[0], ended)

    async def _still_runs(self, deadline: float) -> bool:
        """Whether the program of an earlier check has not ended yet."""
        if self._pid is None:
            return False
        try:
            ended = await self._agent.ended(self._pid, deadline)
        except QmpRefused:
            # Another agent runs by now, which knows nothing of it.
            self._pid = None
            return False
        if ended.exited:
            self._pid = None
        return not ended.exited

    async def _end(self, pid: int, end: float) -> Ended | None:
        """Wait until the program has ended; None if it has not by ``end``, on the loop's clock."""
        loop = asyncio.get_running_loop()
        pause = SOON
        while (left := end - loop.time()) > SOON:
            ended = await self._agent.ended(pid, left)
            if ended.exited:
                self._pid = None
                return ended
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, SELDOM)
        return None


def _judged(name: str, ended: Ended) -> Verdict:
    if ended.signal is not None:
        return Failed(f"{name} was killed by signal {ended.signal}")
    if ended.status is None:
        return Unable(f"the guest agent does not tell how {name} has ended")
    return Failed(f"{name} exited with {ended.status}") if ended.status else Passed(f"{name} exited with 0")


def _verdict(error: QmpError) -> Verdict:
    """What it means that the agent was no help: silence and nonsense are the guest's, all else is in the way."""
    match error:
        case QmpUnanswered() | QmpGarbled():
            return Failed(str(error))
        case QmpRefused() if error.qmp_class != "CommandNotFound" and _SICK.search(str(error)):
            return Failed(f"the guest agent: {error}")
        case QmpRefused():
            return Unable(f"the guest agent: {error}")
        case _:
            return Unable(str(error))
