"""Carries out a verb for one guest or several, and waits for what was asked.

Deeds belong to the daemon, not to the client who asked: a deadline or a client that goes away ends the waiting only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from qsup.control.commands import GuestRestart, GuestStart, GuestStop
from qsup.control.results import Outcome
from qsup.errors import QsupError, TimedOut, UsageError
from qsup.fleet import Stopped
from qsup.phase import Phase, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.control.commands import Act
    from qsup.control.facade import Guests
    from qsup.guest.view import GuestView

    Told = str | Stopped | QsupError
    Deed = asyncio.Future[Mapping[str, Told]]

log: Final = logging.getLogger(__name__)


class Acts:
    """Does verbs; ``close`` ends what still waits in the name of clients that have gone."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._deeds: set[Deed] = set()

    async def close(self) -> None:
        """End the deeds on several guests that are under way; those already begun on a guest are its own."""
        for deed in self._deeds:
            deed.cancel()
        await asyncio.gather(*self._deeds, return_exceptions=True)

    async def one(self, name: str, act: Act, by: str) -> Outcome:
        """Do the verb for one guest; raise QsupError if it is refused, fails or takes too long."""
        if _due(act) or _within(act) is not None:
            raise UsageError("Parameters 'due' and 'budget' are for 'names', not for 'name'")
        accepted = await self._guests.command(name, act.VERB, by=by)
        return Outcome(
            name=name, done=True, message=await self._finished(name, act) if act.wait else accepted
        )

    async def many(self, names: list[str], act: Act, by: str) -> list[Outcome]:
        """Do the verb for each; a failure becomes that guest's outcome."""
        if act.VERB in (Verb.START, Verb.STOP) and (len(names) > 1 or _within(act) or _due(act)):
            return await self._in_order(names, act, by)
        # All are accepted before any is waited for, so that the slowest guest alone makes the time.
        return list(await asyncio.gather(*(self._outcome(name, act, by) for name in names)))

    async def _outcome(self, name: str, act: Act, by: str) -> Outcome:
        try:
            return await self.one(name, act, by)
        except QsupError as error:
            return Outcome.failed(name, error)

    async def _finished(self, name: str, act: Act) -> str:
        deadline = _deadline(act)
        try:
            async with asyncio.timeout(deadline):
                return await self._guests.fleet.finished(name, act.VERB, ready=_until_ready(act))
        except TimeoutError:
            raise _timed_out(name, act.VERB, deadline) from None

    async def _in_order(self, names: list[str], act: Act, by: str) -> list[Outcome]:
        deed: Deed = asyncio.ensure_future(self._deed(names, act, by))
        self._deeds.add(deed)
        deed.add_done_callback(self._deeds.discard)
        deed.add_done_callback(_report)
        if not act.wait:
            return [Outcome(name=name, done=True, message=f"{act.VERB} accepted") for name in names]
        deadline = _deadline(act)
        # Unlike wait_for, wait leaves the task alone, both after the deadline and when it is cancelled itself.
        await asyncio.wait({deed}, timeout=deadline)
        if not deed.done():
            return [_outcome_so_far(self._guests.view(name), act.VERB, deadline) for name in names]
        return [_told(name, deed.result().get(name)) for name in names]

    async def _deed(self, names: list[str], act: Act, by: str) -> Mapping[str, Told]:
        fleet = self._guests.fleet
        if act.VERB is Verb.START:
            if _due(act):
                return await fleet.start_again(names, by=by)
            return await fleet.start_many(names, by=by, ready=_until_ready(act))
        budget = _within(act)
        if budget is not None:
            return await fleet.stop_within(names, budget, by=by)
        return await fleet.stop_many(names, by=by)


def _report(deed: Deed) -> None:
    """Log what nobody may be left to hear: a bug in a deed whose client did not wait."""
    if not deed.cancelled() and (error := deed.exception()):
        log.error("a command to several guests failed", exc_info=error)


def _within(act: Act) -> float | None:
    return act.budget if isinstance(act, GuestStop) else None


def _due(act: Act) -> bool:
    return isinstance(act, GuestStart) and act.due


def _until_ready(act: Act) -> bool:
    return isinstance(act, GuestStart | GuestRestart) and act.ready


def _deadline(act: Act) -> float | None:
    if act.timeout is not None:
        return act.timeout
    return None if _until_ready(act) else act.DEADLINE


def _timed_out(name: str, verb: Verb, deadline: float | None) -> TimedOut:
    return TimedOut(
        f"{name}: {verb} not done within {deadline:g} s; it may still happen, `qsup status {name}` tells"
    )


def _outcome_so_far(view: GuestView, verb: Verb, deadline: float | None) -> Outcome:
    """What can be said of one of several guests when the time is over for all of them."""
    reached = view.ready if verb is Verb.START else view.phase is Phase.STOPPED
    if reached:
        return Outcome(name=view.name, done=True, message=f"{view.phase}")
    return Outcome.failed(view.name, _timed_out(view.name, verb, deadline))


def _told(name: str, told: Told | None) -> Outcome:
    match told:
        case Stopped(text, cut_short):
            return Outcome(name=name, done=True, message=text, cut_short=cut_short)
        case QsupError():
            return Outcome.failed(name, told)
        case None:
            return Outcome.failed(name, QsupError(f"{name}: nothing was heard of it"))
        case str():
            return Outcome(name=name, done=True, message=told)
