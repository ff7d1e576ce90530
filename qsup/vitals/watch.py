"""The watch over one guest and its QEMU: looks at its interval, and reports each sample.

The interval is a tenth of the timeout in ``[hang]``, and half of that from the moment something looks wrong, so that
a timeout is met to within a twentieth. No question is asked again while it is unanswered: a QEMU that hangs must not
find a heap of them when it goes on, and one that answers at last is seen to at once.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from qsup import clock
from qsup.vitals import answers
from qsup.vitals.kernel import Kernel
from qsup.vitals.look import Looker
from qsup.vitals.question import Question
from qsup.vitals.sample import RUNNING, Look, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.proc.identity import Identity
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.hang import Hang
    from qsup.vitals.look import Session

LOOKS: Final = 10
"""In a timeout, as long as all is well."""
CLOSER: Final = 2
"""Times as many when it is not."""
PROMPT: Final = 0.25
"""Seconds that an answer may take before the process is looked at; a tenth of the interval, if that is less."""
BATCHES: Final = 4
"""All guests with one interval are asked in so many batches, at the same moments: a question to one QEMU among many
costs a quarter of what it costs alone, as the daemon is awake already."""


class Subject(Protocol):
    """Who is watched, as its owner knows it at each moment."""

    @property
    def spec(self) -> GuestSpec:
        """What it was launched from."""

    @property
    def identity(self) -> Identity:
        """Its process."""

    @property
    def session(self) -> Session | None:
        """The session to it; None while there is none. Another object is another session."""

    @property
    def greets(self) -> bool:
        """Without a session: whether its monitor has greeted when it was last called, and answered nothing then."""

    @property
    def busy(self) -> bool:
        """Whether an operation may rightly hold it up: a snapshot, a migration, a dump of its memory."""

    @property
    def booted(self) -> float | None:
        """When its vCPUs last began anew, by a start or a reset (``clock.now()``); None: long ago."""


class Watch:
    """Watches one process; ``run`` is its task. After an edit of ``[hang]`` it takes a new one."""

    def __init__(
        self, subject: Subject, hang: Hang, report: Callable[[Sample], None], kernel: Kernel | None = None
    ) -> None:
        self._subject = subject
        self._report = report
        self._kernel = kernel or Kernel()
        self._qemu = float(hang.qemu_timeout) / LOOKS or math.inf
        self._guest = float(hang.guest_timeout) / LOOKS or math.inf
        self._interval = min(self._qemu, self._guest)
        self._prompt = min(PROMPT, self._interval / 10)
        self._line: _Line | None = None
        self._ended: Session | None = None
        self._heard: float | None = None
        self._lost: float | None = None
        self._run_state: str | None = None
        self._look_due = 0.0 if hang.guest_timeout else math.inf

    async def run(self) -> None:
        """Watch until cancelled; return at once if there is nothing to watch for."""
        if self._interval == math.inf:
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                await self._rest(due - loop.time())
                begun = loop.time()
                sample = await self._sample(max(0.0, begun - due))
                self._report(sample)
                # What was due while the loop was held up is not made up for.
                due = max(self._next(min(due, begun), sample), loop.time())
        finally:
            await self._hang_up()

    def _next(self, due: float, sample: Sample) -> float:
        """When the next sample is due, by the clock of the loop."""
        if sample.silent_since is not None:
            return due + min(self._qemu / CLOSER, self._guest)
        return min(self._turn(due), max(due, self._look_due))

    def _turn(self, after: float) -> float:
        """When the guest's batch has its next turn; one that comes at once, after a sample out of turn, is left out."""
        offset = self._subject.identity.pid % BATCHES / BATCHES
        return (math.floor(after / self._interval - offset + 1 / BATCHES) + 1 + offset) * self._interval

    async def _rest(self, length: float) -> None:
        """Rest, but no longer than until an answer comes that nobody was waiting for any more."""
        if self._line is not None and self._line.status.open:
            await self._line.status.wait(max(0.0, length))
        else:
            await asyncio.sleep(max(0.0, length))

    async def _hang_up(self) -> None:
        """Turn away from the session that there was."""
        if self._line is not None:
            line, self._line = self._line, None
            self._ended = line.session if line.status.lost else None
            self._lost = line.status.asked_at
            await line.drop()

    async def _attend(self) -> None:
        """Turn to the session that there is now."""
        session, line = self._subject.session, self._line
        if line is not None and (session is not line.session or line.status.lost):
            await self._hang_up()
        if self._line is None and session is not None and session is not self._ended:
            subject = self._subject
            looker = Looker(session, self._kernel, subject.spec, subject.identity.pid)
            self._line, self._ended = _Line(session, looker), None
            # Somebody has just shaken hands with it.
            self._heard, self._lost = clock.now(), None

    # One sample

    async def _sample(self, lag: float) -> Sample:
        await self._attend()
        silent_since = await self._call()
        at = clock.now()
        silent = silent_since is not None
        line, subject = self._line, self._subject
        return Sample(
            at=at,
            lag=lag,
            slept=at - asyncio.get_running_loop().time(),
            busy=subject.busy,
            booted=subject.booted,
            session=line is not None,
            greets=line is None and subject.greets,
            heard=self._heard,
            silent_since=silent_since,
            latency=line.status.latency if line else None,
            urgent=await line.answers_urgently(self._prompt) if line and silent else None,
            run_state=self._run_state,
            process=self._kernel.process(subject.identity, at) if silent else None,
            look=await self._look(line) if line and not silent else None,
        )

    async def _call(self) -> float | None:
        """Ask whether QEMU is there; return since when it is not, None if it is."""
        line = self._line
        # What was asked the last time may have been answered since: then that is the answer, a late one.
        if line is not None and not line.status.take():
            line.status.ask()
            await line.status.wait(self._prompt)
            line.status.take()
            if line.status.lost:
                await self._hang_up()
        if self._line is None:
            self._lost = self._lost or clock.now()
            return self._lost
        status = self._line.status
        if status.answered_at is not None:
            self._heard = status.answered_at
            self._run_state = answers.run_state(status.answer)
        return status.asked_at

    async def _look(self, line: _Line) -> Look | None:
        """A look into the guest, if one is due and there is a guest that runs; or one that took its time."""
        now = asyncio.get_running_loop().time()
        if now < self._look_due - self._interval / 4:
            return None
        self._look_due = now + self._guest
        if self._run_state != RUNNING or self._subject.busy:
            return None
        look = await line.look(self._prompt)
        if look is None or not look.awake:
            self._look_due = now + self._guest / CLOSER
        return look


class _Line:
    """What is asked over one session."""

    def __init__(self, session: Session, looker: Looker) -> None:
        self.session = session
        self.status = Question(session, "query-status")
        # QEMU refuses at once, beside its main loop as well, what it does not have or would not do there.
        self._urgent = Question(session, "query-yank", oob=True)
        self._looker = looker
        self._look: asyncio.Task[Look | None] | None = None

    async def answers_urgently(self, patience: float) -> bool:
        """Whether QEMU answers out of band."""
        self._urgent.ask()
        await self._urgent.wait(patience)
        return self._urgent.asked_at is None

    async def look(self, patience: float) -> Look | None:
        """Look into the guest; None if there is nothing to see, or not yet."""
        if self._looker.blind:
            return None
        if self._look is None:
            self._look = asyncio.create_task(self._looker.look())
        await asyncio.wait({self._look}, timeout=patience)
        if not self._look.done():
            return None
        done, self._look = self._look, None
        return done.result()

    async def drop(self) -> None:
        """Wait for nothing any more."""
        await self.status.drop()
        await self._urgent.drop()
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait({self._look})
