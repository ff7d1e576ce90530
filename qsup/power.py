"""The host's power: nobody turns it off under a stop that is under way, and guests rest while the host sleeps.

What a guest does while its host is suspended it does in no time: when the host wakes up, hours are missing in the
guest's clock, timers of all guests are due at once, and disks and networks are not there yet. So all are paused before
and go on afterwards, and their clocks are set by their agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from qsup.dbus.connection import Connection, system_bus
from qsup.dbus.logind import Logind
from qsup.errors import DBusError, DBusUnreachable, QsupError
from qsup.events import Kind
from qsup.phase import Phase, Verb

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from qsup.events import Event

log = logging.getLogger(__name__)

BOOTED: Final = "/run/systemd/system"
"""There if systemd runs the host (sd_booted(3))."""
QUICK: Final = 0.25
"""Seconds: a stop that takes less inhibits nothing, for it is over before somebody could have asked."""
PAUSING: Final = 4.0
"""Seconds that guests have to come to rest; logind waits five (``InhibitDelayMaxSec=``)."""
BY_US: Final = "the host, which goes to sleep,"
AWAKE: Final = "the host, which is awake again,"


class Guests(Protocol):
    """The guests, as far as it is about them."""

    def phases(self) -> dict[str, Phase]:
        """In which phase each guest is."""

    async def command(self, name: str, verb: Verb, *, by: str) -> str:
        """Give a guest a command. Raises QsupError."""

    async def phase(self, name: str, phase: Phase) -> None:
        """Wait until a guest is in a phase. Raises QsupError."""

    async def agent(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        """What a guest's agent answers. Raises QsupError."""


class Power:
    """``run`` is its task; ``hear`` is told of all events. Where systemd does not run it does nothing."""

    def __init__(self, guests: Guests, address: str | None = None) -> None:
        self._guests = guests
        booted = address is not None or os.path.isdir(BOOTED)
        self._connection = Connection(address or system_bus()) if booted else None
        self._stopping: set[str] = set()
        self._changed = asyncio.Event()
        self._naps: asyncio.Queue[bool] = asyncio.Queue()
        self._resting: list[str] = []

    def hear(self, event: Event) -> None:
        """A guest is being stopped from now on, or not any more."""
        if event.kind is Kind.PHASE and event.guest is not None:
            if event.data["phase"] == Phase.STOPPING:
                self._stopping.add(event.guest)
            else:
                self._stopping.discard(event.guest)
            self._changed.set()

    async def run(self) -> None:
        """Attend to it until cancelled."""
        if self._connection is None:
            return
        logind = Logind(self._connection)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connection.run())
                tasks.create_task(self._told(self._guard_stops(logind)))
                tasks.create_task(self._told(self._attend_naps(logind)))
        finally:
            await self._connection.close()

    @staticmethod
    async def _told(part: Awaitable[None]) -> None:
        """A host without logind does without."""
        try:
            await part
        except (DBusError, DBusUnreachable) as error:
            log.info("systemd-logind cannot be asked to wait for guests: %s, ignoring", error)

    # Stops

    async def _guard_stops(self, logind: Logind) -> None:
        while True:
            await self._until(busy=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUICK):
                    await self._until(busy=False)
                    continue
            names = sorted(self._stopping)
            lock = await logind.inhibit("shutdown", f"guests are being stopped: {', '.join(names)}", "block")
            try:
                await self._until(busy=False)
            finally:
                os.close(lock)

    async def _until(self, *, busy: bool) -> None:
        while bool(self._stopping) is not busy:
            self._changed.clear()
            await self._changed.wait()

    # Naps

    async def _attend_naps(self, logind: Logind) -> None:
        async with logind.sleeping(self._naps.put_nowait):
            lock = await logind.inhibit("sleep", "guests are paused before", "delay")
            try:
                while True:
                    if await self._naps.get():
                        await self._rest()
                        os.close(lock)
                        lock = -1
                    else:
                        await self._go_on()
                        if lock < 0:
                            lock = await logind.inhibit("sleep", "guests are paused before", "delay")
            finally:
                if lock >= 0:
                    os.close(lock)

    async def _rest(self) -> None:
        """Pause all that run."""
        running = [name for name, phase in self._guests.phases().items() if phase is Phase.RUNNING]
        log.info("the host goes to sleep, and its guests before: %s", ", ".join(running) or "none runs")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSING):
                await asyncio.gather(*map(self._pause, running))
        phases = self._guests.phases()
        self._resting += [name for name in running if phases.get(name) is Phase.PAUSED]

    async def _pause(self, name: str) -> None:
        with contextlib.suppress(QsupError):
            await self._guests.command(name, Verb.PAUSE, by=BY_US)
            await self._guests.phase(name, Phase.PAUSED)

    async def _go_on(self) -> None:
        """Let those run again that were paused for it, and tell them what time it is."""
        resting, self._resting = self._resting, []
        await asyncio.gather(*map(self._resume, resting))

    async def _resume(self, name: str) -> None:
        try:
            await self._guests.command(name, Verb.RESUME, by=AWAKE)
            async with asyncio.timeout(PAUSING):
                await self._guests.phase(name, Phase.RUNNING)
        except (QsupError, TimeoutError) as error:
            log.warning(
                "%s does not run again after the host has slept: %s", name, error or "it does not answer"
            )
            return
        try:
            await self._guests.agent(name, "guest-set-time", {"time": time.time_ns()})
        except QsupError as error:
            log.info("%s: its clock may be late, for its agent cannot set it: %s", name, error)
