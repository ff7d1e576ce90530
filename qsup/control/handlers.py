"""From a command to the daemon's facade, and from what that says to the command's answer."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qsup import clock
from qsup.bucket import Bucket
from qsup.control import commands as c
from qsup.control import granted, render, stop_plan
from qsup.control.account import account
from qsup.control.acts import Acts
from qsup.control.caller import Asked
from qsup.control.crashes import Crashes
from qsup.control.granted import Access
from qsup.control.protocol import event_object
from qsup.control.results import (
    AlertTested,
    Attached,
    Check,
    CommandLine,
    Drill,
    Events,
    Guest,
    History,
    Log,
    Outcome,
    Reloaded,
    Text,
    Why,
)
from qsup.control.selection import about, matches
from qsup.control.stop_plan import StopPlan
from qsup.control.tail import last_lines
from qsup.errors import NotAllowed, UsageError
from qsup.events import Kind
from qsup.role import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from qsup.control import facade
    from qsup.control.caller import Caller
    from qsup.control.facade import Alerts, Console, Guests
    from qsup.events import Event

    Handler = Callable[[Any, Asked], Awaitable[Any]]

log: Final = logging.getLogger(__name__)

REFUSALS: Final = (0.2, 20.0)
"""Refusals that the log has: so many a second in the long run, so many at once."""
NO_GUEST: Final = "test"
"""What a test message is about that is about no guest."""


class Handlers:
    """Answers commands. ``close`` ends what it still does in the name of clients that have gone."""

    def __init__(self, guests: Guests, alerts: Alerts, history: facade.History) -> None:
        self._guests = guests
        self._alerts = alerts
        self._history = history
        self._acts = Acts(guests)
        self._refusals = Bucket(*REFUSALS)
        crashes = Crashes(guests)
        self._table: dict[type[c.Command], Handler] = {
            c.QueryGuests: self._query_guests,
            c.QueryGuest: self._query_guest,
            c.GuestWhy: self._guest_why,
            c.GuestMaintenance: self._guest_maintenance,
            c.GuestDrill: self._guest_drill,
            c.GuestArgv: self._guest_argv,
            c.GuestQmp: self._guest_qmp,
            c.GuestAgent: self._guest_agent,
            c.GuestLog: self._guest_log,
            c.CheckConfig: self._check_config,
            c.ReloadConfig: self._reload_config,
            c.QueryStopPlan: self._query_stop_plan,
            c.QueryEvents: self._query_events,
            c.QueryCrashes: crashes.query_crashes,
            c.QueryCrash: crashes.query_crash,
            c.CrashRead: crashes.crash_read,
            c.AlertTest: self._alert_test,
            c.QueryHistory: self._query_history,
            c.QueryAccess: self._query_access,
            c.QueryVersion: self._query_version,
            c.QueryCommands: self._query_commands,
            c.QuerySchema: self._query_schema,
            **dict.fromkeys(c.ACTS, self._act),
        }

    async def close(self) -> None:
        """End what is still under way."""
        await self._acts.close()

    async def answer(self, command: c.Command, caller: Caller) -> Any:
        """The answer to any command but ``guest-console``; raise QsupError."""
        asked = self._admitted(command, caller)
        return await self._table[type(command)](command, asked)

    def console(self, command: c.GuestConsole, caller: Caller) -> tuple[Attached, Console]:
        """What to answer to a ``guest-console``, and the port to attach the client to then."""
        self._admitted(command, caller)
        console = self._guests.console(command.name, command.serial)
        serial = command.serial or self._guests.view(command.name).serials[0]
        return Attached(name=command.name, serial=serial, read_only=command.read_only), console

    def _admitted(self, command: c.Command, caller: Caller) -> Asked:
        """The one place at which it is decided whether somebody may give a command; what does something is announced.

        Raises NotAllowed, GuestNotFound and UsageError, all of them before anything is done.
        """
        standing = caller.standing
        visible = [name for name in self._guests.names() if standing.sees(name)]
        guests = about(visible, command)
        caller.check(command, guests)
        if guests and not isinstance(command, c.QueryHistory):  # One that is gone may well have a history.
            for stranger in sorted({*guests}.difference(visible)):
                self._guests.view(stranger)  # It has the words for why there is none.
        if command.needs is not Role.OBSERVE:
            self._announce(command, caller, guests)
        return Asked(caller, standing, visible, guests or [])

    def refused(self, error: NotAllowed) -> None:
        """Have a refusal in the log; whoever tries again and again does not fill it."""
        if self._refusals.spend(clock.now()):
            log.warning("%s", error)

    def _announce(self, command: c.Command, caller: Caller, guests: list[str] | None) -> None:
        facts = {"command": command.NAME, "by": str(caller), "uid": caller.peer.uid, "pid": caller.peer.pid}
        if guests is None:
            self._guests.bus.publish(Kind.COMMAND, **facts)
        for guest in guests or ():
            self._guests.bus.publish(Kind.COMMAND, name=guest, **facts)

    async def _act(self, act: c.Act, asked: Asked) -> Outcome | list[Outcome] | Text:
        if act.name is not None:
            outcome = await self._acts.one(act.name, act, asked.by)
            return render.outcomes([outcome]) if act.format == "text" else outcome
        outcomes = await self._acts.many(asked.guests, act, asked.by)
        return render.outcomes(outcomes) if act.format == "text" else outcomes

    async def _query_guests(self, query: c.QueryGuests, asked: Asked) -> list[Guest] | Text:
        views = [self._guests.view(name) for name in asked.matching(query.names)]
        if query.format == "text":
            return render.listing(views, clock.wall(), color=query.color)
        return [Guest.of(view) for view in views]

    async def _query_guest(self, query: c.QueryGuest, asked: Asked) -> Guest | list[Guest] | Text:
        views = [self._guests.view(name) for name in asked.guests]
        if query.format == "text":
            return render.status(views, clock.wall(), color=query.color)
        guests = [Guest.of(view) for view in views]
        return guests if query.name is None else guests[0]

    async def _guest_why(self, query: c.GuestWhy, asked: Asked) -> Why | list[Why] | Text:
        wall = clock.wall()
        answers = [Why.of(self._guests.view(name), wall) for name in asked.guests]
        if query.format == "text":
            return render.reasons(answers)
        return answers if query.name is None else answers[0]

    async def _guest_maintenance(
        self, wish: c.GuestMaintenance, asked: Asked
    ) -> Outcome | list[Outcome] | Text:
        said = [(name, await self._guests.maintain(name, wish.seconds, by=asked.by)) for name in asked.guests]
        outcomes = [Outcome(name=name, done=True, message=message) for name, message in said]
        if wish.format == "text":
            return render.outcomes(outcomes)
        return outcomes if wish.name is None else outcomes[0]

    async def _guest_drill(self, wish: c.GuestDrill, asked: Asked) -> Drill | Text:
        held = Drill.of(await self._guests.drill(wish.name, wish.kind, by=asked.by))
        return render.drill(held) if wish.format == "text" else held

    async def _guest_argv(self, query: c.GuestArgv, _asked: Asked) -> CommandLine:
        places = partial(self._guests.places, query.name)
        return CommandLine.of(await self._guests.invocation(query.name), places)

    async def _guest_qmp(self, command: c.GuestQmp, _asked: Asked) -> Any:
        return await self._guests.qmp(command.name, command.command, command.arguments)

    async def _guest_agent(self, command: c.GuestAgent, _asked: Asked) -> Any:
        return await self._guests.agent(command.name, command.command, command.arguments)

    async def _guest_log(self, query: c.GuestLog, _asked: Asked) -> Log:
        if query.stderr:
            text = self._guests.stderr_tail(query.name, c.TAIL).encode(errors="replace")
        else:
            text = self._guests.console(query.name, query.serial).tail(c.TAIL)
        return Log(text=last_lines(text, query.lines).decode(errors="replace"))

    async def _check_config(self, _query: c.CheckConfig, asked: Asked) -> Check:
        configuration = self._guests.configuration()
        guests = [name for name in configuration.guests if asked.standing.sees(name)]
        problems = configuration.problems
        if not asked.standing.sees_all:
            problems = [
                problem
                for name, some in configuration.by_guest.items()
                if asked.standing.sees(name)
                for problem in some
            ]
        return Check(guests=len(guests), problems=_texts(problems))

    async def _reload_config(self, _command: c.ReloadConfig, _asked: Asked) -> Reloaded:
        found = await self._guests.reload()
        return Reloaded(
            added=tuple(found.added),
            changed=tuple(found.changed),
            removed=tuple(found.removed),
            problems=_texts(found.problems),
        )

    async def _query_stop_plan(self, query: c.QueryStopPlan, asked: Asked) -> StopPlan | Text:
        names = asked.matching(query.names)
        plan = StopPlan.of(self._guests.fleet.stop_plan(names, query.budget))
        return stop_plan.shown(plan) if query.format == "text" else plan

    async def _query_events(self, query: c.QueryEvents, asked: Asked) -> Events:
        recent = self._guests.bus.recent
        chosen = [
            event_object(event)
            for event in recent
            if self._asked_for(event, query) and asked.standing.hears(event.guest)
        ]
        return Events(events=chosen, last=recent[-1].seq if recent else 0)

    def _asked_for(self, event: Event, query: c.QueryEvents) -> bool:
        if event.seq <= query.since or (query.age is not None and event.at < clock.wall() - query.age):
            return False
        # Globs are matched with the event's own guest: it may have gone, and its name with it.
        return query.names is None or (event.guest is not None and matches(event.guest, query.names))

    async def _alert_test(self, command: c.AlertTest, _asked: Asked) -> AlertTested:
        guest, phase = NO_GUEST, None
        if command.guest is not None:
            guest, phase = command.guest, self._guests.view(command.guest).phase
        return AlertTested.of(command.alert, await self._alerts.test(command.alert, guest, phase))

    async def _query_history(self, query: c.QueryHistory, _asked: Asked) -> History | Text:
        since = query.since if query.age is None else clock.wall() - query.age
        if query.since is not None and query.age is not None:
            raise UsageError("Parameters 'age' and 'since' exclude each other")
        kept = await self._history.of(query.name, since=since, limit=query.limit)
        if kept.figures is None and not kept.events:
            # One that is gone may well have a history; a name without one has to be a guest's.
            self._guests.view(query.name)
        if query.format == "text":
            return account(query.name, kept, self._history.trouble)
        return History.of(query.name, kept, self._history.trouble)

    async def _query_access(self, query: c.QueryAccess, asked: Asked) -> Access | Text:
        found = Access.of(asked.caller)
        return granted.shown(found) if query.format == "text" else found

    async def _query_version(self, _query: c.QueryVersion, _asked: Asked) -> dict[str, Any]:
        return self._guests.version

    async def _query_commands(self, _query: c.QueryCommands, _asked: Asked) -> list[dict[str, str]]:
        return [{"name": name} for name in ("qmp_capabilities", *c.COMMANDS)]

    async def _query_schema(self, _query: c.QuerySchema, _asked: Asked) -> dict[str, Any]:
        return c.schema()


def _texts(problems: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(problem) for problem in problems)
