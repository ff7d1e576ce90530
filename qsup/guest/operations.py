"""What an operator has QEMU or the agent do that holds the guest up: it is no hang, and no check of health fails by it.

QEMU's main loop stands still while it saves or restores a machine by ``savevm`` or a ``snapshot-save``, or dumps its
memory, for as long as that takes; a guest that is migrated is slow, and one whose file systems are frozen answers to
little. All of it begins with a command of raw QMP or to the agent; whether it is over, QEMU is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from qsup import clock
from qsup.errors import QmpError, QmpLost, QmpUnanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    class Session(Protocol):
        """A QMP session, as far as it is needed here."""

        async def execute(
            self, command: str, arguments: dict[str, Any] | None = None, *, deadline: float | None = None
        ) -> Any:
            """What QEMU answers. Raises QmpError."""


SNAPSHOT: Final = "snapshot"
MIGRATION: Final = "migration"
DUMP: Final = "memory dump"
BY_QMP: Final = {
    "snapshot-save": SNAPSHOT,
    "snapshot-load": SNAPSHOT,
    "snapshot-delete": SNAPSHOT,
    "dump-guest-memory": DUMP,
    "migrate": MIGRATION,
}
BY_MONITOR: Final = {
    "savevm": SNAPSHOT,
    "loadvm": SNAPSHOT,
    "delvm": SNAPSHOT,
    "dump-guest-memory": DUMP,
    "migrate": MIGRATION,
}
"""Commands of the monitor for people, which ``human-monitor-command`` passes on."""
JOB_OVER: Final = frozenset({"concluded", "null"})
MIGRATION_OVER: Final = frozenset({"none", "completed", "failed", "cancelled"})
PAUSE: Final = 1.0
"""Seconds between two questions whether it is over."""
PATIENCE: Final = 10.0
"""Seconds that an answer may take before it is asked again."""
MOST: Final = 3600.0
"""Seconds after which nothing is put down to it any more."""
FREEZES: Final = frozenset({"guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"})
THAWS: Final = "guest-fsfreeze-thaw"


def kind(command: str, arguments: dict[str, Any]) -> str | None:
    """What a command begins, in a word; None if it is nothing that holds a guest up."""
    if command != "human-monitor-command":
        return BY_QMP.get(command)
    words = str(arguments.get("command-line", "")).split(maxsplit=1)
    return BY_MONITOR.get(words[0]) if words else None


def over(what: str, job: object, answer: object) -> bool:
    """Whether it is over, by what ``query-jobs``, ``query-migrate`` or ``query-dump`` has answered."""
    if what == MIGRATION:
        return not isinstance(answer, dict) or answer.get("status", "none") in MIGRATION_OVER
    if what == DUMP:
        return not isinstance(answer, dict) or answer.get("status") != "active"
    jobs = answer if isinstance(answer, list) else []
    return not any(
        isinstance(one, dict) and one.get("id") == job and one.get("status") not in JOB_OVER for one in jobs
    )


_QUESTIONS: Final = {SNAPSHOT: "query-jobs", MIGRATION: "query-migrate", DUMP: "query-dump"}


class Operations:
    """Those of one guest. ``go`` does something beside, ``changed`` is called when one of them begins or is over."""

    def __init__(
        self, go: Callable[[Coroutine[Any, Any, None]], object], changed: Callable[[], None]
    ) -> None:
        self._go = go
        self._changed = changed
        self._under_way: dict[object, tuple[str, float]] = {}
        self._frozen: float | None = None

    def current(self) -> str | None:
        """What is under way."""
        since = clock.now() - MOST
        return next((what for what, began in self._under_way.values() if began > since), None)

    @property
    def frozen(self) -> bool:
        """Whether the guest's file systems are frozen."""
        return self._frozen is not None and clock.now() - self._frozen < MOST

    async def execute(
        self, session: Session, command: str, arguments: dict[str, Any], deadline: float | None
    ) -> Any:
        """Execute a command for an operator. Raises QmpError."""
        what = kind(command, arguments)
        if what is None:
            return await session.execute(command, arguments, deadline=deadline)
        key = object()
        self._under_way[key] = what, clock.now()
        self._changed()
        try:
            answer = await session.execute(command, arguments, deadline=deadline)
        except (QmpUnanswered, asyncio.CancelledError):
            # Nobody waits for it any more, and QEMU is at it all the same.
            self._go(self._until_over(key, session, what, arguments.get("job-id")))
            raise
        except QmpError:
            self._end(key)
            raise
        self._go(self._until_over(key, session, what, arguments.get("job-id")))
        return answer

    def asked_agent(self, command: str) -> None:
        """The agent has done a command."""
        if command in FREEZES:
            self._frozen = clock.now()
        elif command == THAWS:
            self._frozen = None
        self._changed()

    def begin_run(self) -> None:
        """Another machine runs: nothing of it is frozen."""
        self._frozen = None

    async def _until_over(self, key: object, session: Session, what: str, job: object) -> None:
        try:
            with contextlib.suppress(TimeoutError, QmpLost):
                async with asyncio.timeout(MOST):
                    # Not all of it ends with an event, and a loop that stood still has nothing to say.
                    while True:
                        if await self._is_over(session, what, job):
                            return
                        await asyncio.sleep(PAUSE)
        finally:
            self._end(key)

    def _end(self, key: object) -> None:
        del self._under_way[key]
        self._changed()

    @staticmethod
    async def _is_over(session: Session, what: str, job: object) -> bool:
        try:
            return over(what, job, await session.execute(_QUESTIONS[what], deadline=PATIENCE))
        except QmpLost:
            raise
        except QmpUnanswered:
            return False
        except QmpError:
            # A QEMU without the question has answered, and so is not held up.
            return True
