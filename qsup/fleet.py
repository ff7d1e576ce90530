"""What is done to many guests: started and stopped in the order of ``after``, a few at a time or within one time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from qsup import clock
from qsup.budget import Need, plan
from qsup.errors import GuestNotFound, QsupError, TimedOut
from qsup.guest import ladder
from qsup.guest.inputs import Command, Due
from qsup.guest.outcome import outcome
from qsup.guest.state import Leave
from qsup.order import in_order
from qsup.phase import ALIVE, Phase, Verb
from qsup.proc import hoststate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from qsup.budget import Plan, Share
    from qsup.guest.actor import Actor

log = logging.getLogger(__name__)

AT_REST: Final = frozenset({Phase.PAUSED, Phase.STOPPED, Phase.GAVE_UP, Phase.UNREACHABLE})
"""Phases in which those who wait for a guest to be ready need not wait any longer."""
STOPPABLE: Final = ALIVE | {Phase.BACKOFF}
"""Phases from which a guest is stopped with all others; who has given up stays so."""
LAST_MOMENT: Final = 0.5
"""Seconds from SIGKILL to the end of a process; one that takes longer hangs in the kernel."""

T = TypeVar("T")


class Stopped(msgspec.Struct, frozen=True):
    """A guest was stopped within its time: how, and whether it was cut short."""

    text: str
    cut_short: bool = False


class Fleet:
    """The guests of a supervisor, by name, which may come and go; ``waiting`` shows who waits for whom."""

    def __init__(self, actors: Mapping[str, Actor], parallel: Callable[[], int]) -> None:
        self.waiting: dict[str, set[str]] = {}
        self._actors = actors
        self._parallel = parallel
        self._starts: asyncio.Task[None] | None = None

    async def start_due(self, names: list[str], due: Callable[[Actor], bool]) -> None:
        """Start those of the guests that are due, in order; return when nobody needs to wait for any of them.

        There is one such start at a time: a later one takes up what is left of an earlier one, and a stop within a
        time ends it.
        """
        await self._end_starts()
        async with asyncio.TaskGroup() as tasks:
            self._starts = tasks.create_task(self._start_due(names, due))

    async def start_again(self, names: list[str], *, by: str) -> dict[str, str | QsupError]:
        """Start those of the guests that should run and have not begun to, or were stopped with all others."""
        due = [name for name in names if self._actor(name).due]
        log.info("%s starts what should run: %s", by, ", ".join(due) or "nothing that does not")
        await self.start_due(names, lambda actor: actor.due)
        return {name: self._came_up(name, asked=name in due) for name in names}

    def _came_up(self, name: str, *, asked: bool) -> str | QsupError:
        state = self._actor(name).state
        result = outcome(Verb.START, state) if asked else None
        if result is None:
            return f"{state.phase} already" if not asked else state.phase.value
        return result.text if result.ok else QsupError(f"{name}: {result.text}")

    async def _end_starts(self) -> None:
        if self._starts is not None:
            self._starts.cancel()
            await asyncio.wait({self._starts})

    async def _start_due(self, names: list[str], due: Callable[[Actor], bool]) -> None:
        order = {
            name: self._actors[name].spec.after
            for name in names
            if name in self._actors and (due(self._actors[name]) or self._comes_up(self._actors[name]))
        }
        places = asyncio.Semaphore(self._parallel())

        async def start(name: str) -> None:
            actor = self._actors.get(name)
            # While it waited for its turn it may have been forgotten, or an operator may have stopped it.
            if actor is not None and (due(actor) or self._comes_up(actor)):
                with contextlib.suppress(GuestNotFound):
                    await self._start_one(actor, places, due)

        await in_order(order, start, self.waiting)

    @staticmethod
    def _comes_up(actor: Actor) -> bool:
        return actor.state.phase is Phase.STARTING or (
            actor.state.phase is Phase.RUNNING and not actor.state.ready
        )

    async def _start_one(self, actor: Actor, places: asyncio.Semaphore, due: Callable[[Actor], bool]) -> None:
        """Start one guest in its place among those that start; return when nobody needs to wait for it any longer."""
        async with places:
            if due(actor):
                actor.post(Due())
                await actor.until(lambda: actor.state.phase is not Phase.STOPPED or not due(actor))
            await actor.until(lambda: actor.state.phase is not Phase.STARTING)
        await actor.until(lambda: actor.state.ready or actor.state.phase in AT_REST)

    async def start_many(
        self, names: list[str], *, by: str, ready: bool = False
    ) -> dict[str, str | QsupError]:
        """Start guests in the order of ``after``, a few at a time; what became of each."""
        places = asyncio.Semaphore(self._parallel())
        order = {name: self._actors[name].spec.after for name in names}
        awaited = {other for others in order.values() for other in others}

        async def start(name: str) -> str:
            async with places:
                await self._actor(name).command(Verb.START, by)
                told = await self.finished(name, Verb.START)
            waits = ready or name in awaited
            return await self.finished(name, Verb.START, ready=True) if waits else told

        return await self._many(names, order, start)

    async def stop_many(self, names: list[str], *, by: str) -> dict[str, str | QsupError]:
        """Stop guests, each before those that it comes after; what became of each."""

        async def stop(name: str) -> str:
            await self._actor(name).command(Verb.STOP, by)
            return await self.finished(name, Verb.STOP)

        return await self._many(names, self._later(names), stop)

    # Within one time

    def stop_plan(self, names: list[str], budget: float) -> Plan:
        """How the time would be shared if the guests were stopped once all run that should."""
        alive = (
            name for name in names if self._actor(name).state.phase in STOPPABLE or self._actor(name).due
        )
        return self._plan(alive, budget)

    def _plan(self, names: Iterable[str], budget: float) -> Plan:
        specs = [self._actor(name).spec for name in names]
        return plan({spec.name: Need(ladder.need(spec), spec.after) for spec in specs}, budget)

    async def stop_within(
        self, names: list[str], budget: float, *, by: str
    ) -> dict[str, Stopped | QsupError]:
        """Stop guests as the host goes down: all of them within so many seconds, and not for good.

        Their stop ladders are shortened to their shares. What became of each is an error for one that is still there.
        """
        began = clock.now()
        await self._end_starts()
        made = self._plan((name for name in names if self._actor(name).state.phase in STOPPABLE), budget)
        if made.short:
            log.warning(
                "%g s to stop all guests, which may take %.1f s by their files: less than that is sure for %s",
                budget,
                made.needed,
                ", ".join(made.short),
            )
        host_down = await hoststate.goes_down()

        async def stop(name: str) -> Stopped:
            if name not in made.shares:
                return Stopped(f"{self._actor(name).state.phase} already")
            return await self._stop_one(name, made.shares[name], began, by, host_down=host_down)

        results = await self._many(names, self._later(names), stop)
        log.info("%s", _last_word(results, clock.now() - began, budget))
        return results

    async def _stop_one(self, name: str, share: Share, began: float, by: str, *, host_down: bool) -> Stopped:
        """Stop one guest in its turn, by the time that it has to be gone."""
        actor, now = self._actor(name), clock.now()
        allowance = share.allowance(now - began)
        leave = Leave(until=now + allowance, host_down=host_down)
        await actor.ask(Command(Verb.STOP, by, lasting=False, leave=leave))
        try:
            async with asyncio.timeout(allowance + LAST_MOMENT):
                told = await self.finished(name, Verb.STOP)
        except TimeoutError:
            raise TimedOut(
                f"{name}: QEMU (pid {actor.state.pid}) is still there after {allowance:.1f} s and SIGKILL: it"
                " hangs in the kernel"
            ) from None
        end = actor.state.last_end
        if allowance < share.need and end is not None and ladder.is_hard(actor.spec, end.stopped_by):
            had = f"it had {allowance:.1f} s of its {share.need:g} s"
            return Stopped(f"{told}, cut short: {had}", cut_short=True)
        return Stopped(told)

    # What all of it is made of

    async def finished(self, name: str, verb: Verb, *, ready: bool = False) -> str:
        """Wait until the deed of an accepted verb is done; say how. Raises QsupError if it failed.

        ``ready``: a start is done only when the guest is ready.
        """
        actor = self._actor(name)
        began = clock.now()
        await actor.until(lambda: outcome(verb, actor.state, ready=ready) is not None)
        result = outcome(verb, actor.state, ready=ready)
        assert result is not None, "until() returned before its condition held"  # noqa: S101 - a bug
        if not result.ok:
            raise QsupError(f"{name}: {result.text}")
        took = clock.now() - began
        return f"{result.text} after {took:.1f} s" if took >= 0.1 else result.text

    def _actor(self, name: str) -> Actor:
        if name not in self._actors:
            raise GuestNotFound(f"there is no guest {name} any more")
        return self._actors[name]

    def _later(self, names: list[str]) -> dict[str, tuple[str, ...]]:
        """For each guest those of the others that have to be stopped before it."""
        return {
            name: tuple(other for other in names if name in self._actor(other).spec.after) for name in names
        }

    async def _many(
        self, names: list[str], order: dict[str, tuple[str, ...]], deed: Callable[[str], Awaitable[T]]
    ) -> dict[str, T | QsupError]:
        results: dict[str, T | QsupError] = {}

        async def one(name: str) -> None:
            try:
                results[name] = await deed(name)
            except QsupError as error:
                results[name] = error

        await in_order(order, one, self.waiting)
        return {name: results[name] for name in names}


def _last_word(results: Mapping[str, Stopped | QsupError], took: float, budget: float) -> str:
    """How the stop of all guests went, in one sentence."""
    cut = [name for name, result in results.items() if isinstance(result, Stopped) and result.cut_short]
    left = [name for name, result in results.items() if isinstance(result, QsupError)]
    told = f"the stop of all guests took {took:.1f} s of {budget:g} s"
    if cut:
        told += f"; cut short: {', '.join(cut)}"
    if left:
        told += f"; still there: {', '.join(left)}"
    return told
