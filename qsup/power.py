"""The host's power: nobody turns it off under a stop that is under way, and guests rest while the host sleeps.

What a guest does while its host is suspended it does in no time: when the host wakes up, hours are missing in the
guest's clock, timers of all guests are due at once, and disks and networks are not there yet. So all are paused before
and go on afterwards, and their clocks are set by their agents. Who they are is written down: if the daemon dies
meanwhile, the next one lets them go on.
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
from qsup.resting import Resting

if TYPE_CHECKING:
    from pathlib import Path

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

    def __init__(self, guests: Guests, resting: Path, address: str | None = None) -> None:
        self._guests = guests
        self._resting = Resting(resting)
        booted = address is not None or os.path.isdir(BOOTED)
        self._connection = Connection(address or system_bus()) if booted else None
        self._stopping: set[str] = set()
        self._changed = asyncio.Event()
        self._naps: asyncio.Queue[bool] = asyncio.Queue()
        self._refused: set[str] = set()

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
                tasks.create_task(self._guard_stops(logind))
                tasks.create_task(self._attend_naps(logind))
        finally:
            await self._connection.close()

    async def _inhibit(self, logind: Logind, what: str, why: str, mode: str) -> int | None:
        """A lock; None where logind gives none, as while the host goes down already, which is told once."""
        try:
            lock = await logind.inhibit(what, why, mode)
        except (DBusError, DBusUnreachable) as error:
            if what not in self._refused:
                log.warning("systemd-logind does not let guests inhibit %s: %s, ignoring", what, error)
            self._refused.add(what)
            return None
        self._refused.discard(what)
        return lock

    # Stops

    async def _guard_stops(self, logind: Logind) -> None:
        while True:
            await self._until(busy=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUICK):
                    await self._until(busy=False)
                    continue
            names = sorted(self._stopping)
            why = f"guests are being stopped: {', '.join(names)}"
            lock = await self._inhibit(logind, "shutdown", why, "block")
            try:
                await self._until(busy=False)
            finally:
                _release(lock)

    async def _until(self, *, busy: bool) -> None:
        while bool(self._stopping) is not busy:
            self._changed.clear()
            await self._changed.wait()

    # Naps

    async def _attend_naps(self, logind: Logind) -> None:
        """Hear of the host's sleep; a host without logind does without."""
        try:
            async with logind.sleeping(self._naps.put_nowait):
                if not await logind.falls_asleep():
                    self._naps.put_nowait(False)
                await self._take_naps(logind)
        except (DBusError, DBusUnreachable) as error:
            log.info("systemd-logind cannot be asked to wait for guests: %s, ignoring", error)

    async def _take_naps(self, logind: Logind) -> None:
        lock: int | None = None
        try:
            while True:
                if await self._naps.get():
                    await self._rest()
                    _release(lock)
                    lock = None
                    continue
                await self._go_on()
                if lock is None:
                    lock = await self._inhibit(logind, "sleep", "guests are paused before", "delay")
        finally:
            _release(lock)

    async def _rest(self) -> None:
        """Pause all that run."""
        running = [name for name, phase in self._guests.phases().items() if phase is Phase.RUNNING]
        log.info("the host goes to sleep, and its guests before: %s", ", ".join(running) or "none runs")
        self._resting.are([*self._resting.names, *running])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSING):
                await asyncio.gather(*map(self._pause, running))

    async def _pause(self, name: str) -> None:
        with contextlib.suppress(QsupError):
            await self._guests.command(name, Verb.PAUSE, by=BY_US)
            await self._guests.phase(name, Phase.PAUSED)

    async def _go_on(self) -> None:
        """Let those run again that were paused for it, also by an earlier daemon, and tell them what time it is."""
        await asyncio.gather(*map(self._resume, self._resting.names))
        self._resting.are([])

    async def _resume(self, name: str) -> None:
        try:
            async with asyncio.timeout(PAUSING):
                await self._guests.phase(name, Phase.PAUSED)
        except (QsupError, TimeoutError):
            return  # It did not come to rest, or has gone.
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


def _release(lock: int | None) -> None:
    """Have nobody wait any longer."""
    if lock is not None:
        os.close(lock)
