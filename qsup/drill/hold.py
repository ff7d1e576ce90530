"""A fire drill, held: the real thing is done to a guest, and what qsup makes of it is written down.

Nothing is done that could not happen by itself, and nothing to any other guest. What was done to a QEMU that does
not end by it is taken back at the end, whatever has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import clock
from qsup.drill.full import Full
from qsup.drill.plan import (
    REPLACED,
    RESET_ALREADY,
    Kind,
    Row,
    Seen,
    compare,
    lasting_helper,
    passt_helper,
    plan,
)
from qsup.errors import QsupError, Refused
from qsup.events import Event
from qsup.events import Kind as Told
from qsup.phase import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qsup.drill.plan import Plan
    from qsup.guest.actor import Actor
    from qsup.guest.running import Running
    from qsup.qmp.agent import Agent

CRASH: Final = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"
"""What Linux's own documentation names for crashing it (admin-guide/sysrq)."""
LATE: Final = 5.0
"""Seconds that a drill waits for more than its file promises, to tell how late it was."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill went."""

    guest: str
    kind: Kind
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether all was as expected."""
        return all(row.ok for row in self.rows)


async def hold(actor: Actor, kind: Kind) -> Report:
    """Hold a drill; return how it went. Raises Refused if the guest's file or its state does not allow it."""
    running = actor.running
    if actor.state.phase is not Phase.RUNNING or running is None or not actor.state.ready:
        raise Refused(
            f"{actor.spec.name} is {actor.state.phase}: a drill begins with a guest that runs and is ready"
        )
    if actor.state.maintenance is not None:
        raise Refused(f"{actor.spec.name} is under maintenance: what happens to it now would be no drill")
    launch = actor.state.launch
    up = clock.now() - ((launch.booted_at if launch else None) or 0.0)
    expected = plan(kind, actor.spec, running.record.accel, up)
    watch = _Watch(actor, expected, running)
    actor.host.bus.hooks.append(watch.hear)
    try:
        async with _deed(actor, running, kind, watch):
            await watch.until_settled()
    finally:
        actor.host.bus.hooks.remove(watch.hear)
    return Report(guest=actor.spec.name, kind=kind, rows=compare(expected, watch.seen()))


class _Watch:
    """Writes down what is told of the guest from the deed on."""

    def __init__(self, actor: Actor, expected: Plan, running: Running) -> None:
        self._actor = actor
        self._plan = expected
        self._token = running.token
        self._began = clock.now()
        self._noticed: float | None = None
        self._cause: str | None = None
        self._answer: str | None = None
        self._bundle: str | None = None
        self._settled: float | None = None
        self.told = asyncio.Event()
        """Set once something was noticed."""

    def begin(self) -> None:
        """The deed is done now."""
        self._began = clock.now()

    def hear(self, event: Event) -> None:
        """One event, as it is announced."""
        if event.guest != self._actor.spec.name:
            return
        match event.kind:
            case Told.ENDED | Told.TROUBLE:
                self._note(event.data["cause"], event.data["decision"], event.data.get("bundle"))
            case Told.NOTICE:
                self._notice(str(event.data["message"]))
            case _:
                return

    def _note(self, cause: str, answer: str, bundle: str | None) -> None:
        if self._noticed is None:
            self._noticed = clock.now() - self._began
            self._cause, self._answer = cause, answer
        self._bundle = self._bundle or bundle
        self.told.set()

    def _notice(self, message: str) -> None:
        """What is no trouble is told in a notice."""
        if self._plan.cause is None and REPLACED in message:
            self._note_once(None, REPLACED)
        elif (
            self._plan.cause is not None
            and message.startswith(f"{self._plan.cause}: ")
            and "(reset " in message
        ):
            self._note_once(self._plan.cause.value, RESET_ALREADY)
        elif "the evidence is kept as " in message:
            self._bundle = self._bundle or message.rpartition(" ")[2]

    def _note_once(self, cause: str | None, answer: str) -> None:
        if self._noticed is None:
            self._noticed = clock.now() - self._began
            self._cause, self._answer = cause, answer
            self.told.set()

    async def until_settled(self) -> None:
        """Wait until the guest is where it was expected, or the time for that is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.within + LATE):
                async with asyncio.timeout(self._plan.noticed[1] + LATE):
                    await self.told.wait()
                await self._actor.until(self._there)
                self._settled = clock.now() - self._began

    def _there(self) -> bool:
        state = self._actor.state
        if state.phase is Phase.GAVE_UP or (
            state.phase is Phase.STOPPED and self._plan.after is not Phase.STOPPED
        ):
            return True
        return (
            state.phase is self._plan.after
            and self._anew() == self._plan.anew
            and (state.ready or not self._plan.ready)
            and (state.ill is None or not self._plan.ready)
        )

    def _anew(self) -> bool:
        running = self._actor.running
        return running is not None and running.token != self._token

    def seen(self) -> Seen:
        """What has happened by now."""
        state = self._actor.state
        return Seen(
            noticed=self._noticed,
            cause=self._cause,
            answer=self._answer,
            bundle=self._bundle,
            phase=state.phase,
            ready=state.ready,
            anew=self._anew(),
            settled=self._settled,
        )


@contextlib.asynccontextmanager
async def _deed(actor: Actor, running: Running, kind: Kind, watch: _Watch) -> AsyncIterator[None]:
    """The real thing, and its end."""
    match kind:
        case Kind.KILL:
            watch.begin()
            running.process.signal(signal.SIGKILL)
            yield
        case Kind.STOP_QEMU:
            watch.begin()
            running.process.signal(signal.SIGSTOP)
            try:
                yield
            finally:
                running.process.signal(signal.SIGCONT)
        case Kind.PANIC if actor.spec.drill.panic is None:
            watch.begin()
            await _crash(actor.hands.agent)
            yield
        case Kind.PANIC | Kind.HANG | Kind.TRIPLE_FAULT:
            await _type(actor, kind, watch)
            yield
        case Kind.ENOSPC:
            async with Full(actor, running) as full:
                watch.begin()
                await full.begin()
                async with _lifted(full, watch):
                    yield
        case Kind.HELPER:
            watch.begin()
            running.helpers.kill(lasting_helper(running.spec) or passt_helper(running.spec) or "")
            yield


async def _type(actor: Actor, kind: Kind, watch: _Watch) -> None:
    drill = actor.spec.drill
    keys = {Kind.PANIC: drill.panic, Kind.HANG: drill.hang, Kind.TRIPLE_FAULT: drill.triple_fault}[kind] or ""
    serial = drill.serial or next(iter(actor.spec.serial))
    watch.begin()
    await actor.console(serial).write(keys.encode())


async def _crash(agent: Agent | None) -> None:
    """Have the guest agent crash the kernel; it does not live to answer."""
    arguments: dict[str, Any] = {"path": "/bin/sh", "arg": ["-c", CRASH]}
    if agent is not None:
        with contextlib.suppress(QsupError):
            await agent.execute("guest-exec", arguments, expect_reply=False, urgent=True)


@contextlib.asynccontextmanager
async def _lifted(full: Full, watch: _Watch) -> AsyncIterator[None]:
    """There is room again as soon as it was noticed that there is none."""

    async def lift() -> None:
        await watch.told.wait()
        await full.end()

    lifting = asyncio.create_task(lift())
    try:
        yield
    finally:
        lifting.cancel()
        await asyncio.gather(lifting, return_exceptions=True)
