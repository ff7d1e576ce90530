"""systemd's manager on the bus, as far as it is needed (org.freedesktop.systemd1(5)): scopes and their properties."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsup.dbus.connection import Thing, variant
from qsup.errors import DBusError, DBusUnreachable

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping, Sequence

    from qsup.dbus.connection import Connection, Signal

SERVICE: Final = "org.freedesktop.systemd1"
MANAGER: Final = Thing(SERVICE, "/org/freedesktop/systemd1", f"{SERVICE}.Manager")
SCOPE: Final = f"{SERVICE}.Scope"
UNIT_EXISTS: Final = f"{SERVICE}.UnitExists"
_UNKNOWN: Final = re.compile(r"Cannot set property (\w+), or unknown property")
NEW: Final = frozenset({"OOMPolicy", "PIDFDs"})
"""Properties of scopes that older managers (before 253) do not know, and that may go without."""
LINGERS: Final = 3.0
"""Seconds that a scope whose last process has ended may take to go; usually a hundredth of one."""
PAUSE: Final = 0.004
MOST_PAUSE: Final = 0.05


class Property(NamedTuple):
    """A property of a unit, with the type of its value in D-Bus's letters."""

    name: str
    signature: str
    value: Any


class Manager:
    """The manager of the system's units, or of a user's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._unknown: set[str] = set()
        """Of the properties in ``NEW``, those that this manager has refused."""

    async def start_scope(
        self, unit: str, properties: Sequence[Property], processes: Mapping[int, int]
    ) -> None:
        """Make a scope of processes (pid → pidfd), and wait until they are in it.

        The scope of an earlier launch may be about to go; that is waited for. Raises DBusError, DBusUnreachable.
        """
        results: dict[str, str] = {}
        told = asyncio.Event()

        def removed(signal: Signal) -> None:
            _, job, _, result = signal.values
            results[job] = result
            told.set()

        where = f"arg2='{unit}'"
        async with self.connection.listening(SERVICE, MANAGER.interface, "JobRemoved", removed, where=where):
            job = await self._start(unit, properties, processes)
            try:
                async with asyncio.timeout(LINGERS):
                    while job not in results:
                        told.clear()
                        await told.wait()
            except TimeoutError:
                raise DBusUnreachable(
                    f"systemd has not told within {LINGERS:g} s whether {unit} is there"
                ) from None
        if results[job] != "done":
            raise DBusError("", f"systemd could not start {unit}: {results[job]}")

    async def _start(self, unit: str, properties: Sequence[Property], processes: Mapping[int, int]) -> str:
        pause, until = PAUSE, asyncio.get_running_loop().time() + LINGERS
        while True:
            try:
                return await self._ask(unit, properties, processes)
            except DBusError as error:
                unknown = _UNKNOWN.search(str(error))
                if unknown is not None and unknown[1] in NEW - self._unknown:
                    self._unknown.add(unknown[1])
                elif error.name != UNIT_EXISTS:
                    raise
                elif asyncio.get_running_loop().time() > until:
                    told = f"there is one already that does not go; `systemctl status {unit}` shows what is in it"
                    raise DBusError(error.name, told) from error
                else:
                    # Nobody announces that a unit is forgotten but to those who want to hear of all units.
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, MOST_PAUSE)

    async def _ask(self, unit: str, properties: Sequence[Property], processes: Mapping[int, int]) -> str:
        """Ask once; the job that it has become."""
        known = [one for one in properties if one.name not in self._unknown]
        if "PIDFDs" in self._unknown:
            fds: list[int] = []
            known.append(Property("PIDs", "au", list(processes)))
        else:
            fds = list(processes.values())
            known.append(Property("PIDFDs", "ah", list(range(len(fds)))))
        signature = "ssa(sv)a(sa(sv))"
        made = _variants(known)
        reply = await self.connection.call(
            MANAGER, "StartTransientUnit", signature, unit, "fail", made, [], fds=fds
        )
        return str(reply.values[0])

    async def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change properties of a unit until it goes. Raises DBusError, DBusUnreachable."""
        await self.connection.call(MANAGER, "SetUnitProperties", "sba(sv)", unit, True, _variants(properties))

    async def attach(self, unit: str, pids: Sequence[int]) -> None:
        """Move more processes into a unit. Raises DBusError, DBusUnreachable."""
        await self.connection.call(MANAGER, "AttachProcessesToUnit", "ssau", unit, "", [*pids])

    def stop_requests(self, hear: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """Hear the object paths of scopes of ours (see property ``Controller``) that somebody wants stopped."""
        return self.connection.addressed(SERVICE, SCOPE, "RequestStop", lambda signal: hear(signal.path))


def _variants(properties: Sequence[Property]) -> list[list[Any]]:
    return [[one.name, variant(one.signature, one.value)] for one in properties]
