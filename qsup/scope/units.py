"""Guests in scopes of systemd's."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from qsup.dbus.connection import BUS
from qsup.dbus.systemd import Manager
from qsup.errors import DBusError, DBusUnreachable, ScopeError
from qsup.proc import cgroup
from qsup.proc.kernel import read
from qsup.scope import names, properties
from qsup.scope.ground import Way
from qsup.scope.wish import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from qsup.dbus.connection import Connection
    from qsup.scope.wish import Wish
    from qsup.spec.tables.limits import Limits

EVERYTHING: Final = {
    "AllowedCPUs": "/sys/devices/system/cpu/online",
    "AllowedMemoryNodes": "/sys/devices/system/node/has_memory",
}
"""Where the kernel tells what a set may hold at most."""
TRIES: Final = 2
"""How often systemd is asked: the first answer may be lost, as while it executes itself anew."""


class Units:
    """The scopes that systemd has made for us."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._manager = Manager(connection)
        self._stops: dict[str, Callable[[], None]] = {}

    async def put(self, wish: Wish, name: str, leader: int, processes: Mapping[int, int]) -> Scope:
        """Put processes (pid → pidfd) into a scope of their own. Raises ScopeError."""
        if cgroup.unit_of(leader) == name:
            # No record tells of it, or whoever has made it died before it could write one.
            with _refusals(f"the limits of {name} cannot be set"):
                await self._manager.set_properties(name, properties.of_limits(wish.limits, wish.disks))
            return self._made(name, leader)
        for attempt in range(1, TRIES + 1):
            try:
                if self._connection.name is None:
                    await self._connection.call(BUS, "GetId")
                made = properties.of_scope(
                    wish.description, wish.limits, wish.disks, self._connection.name, wish.patience
                )
                await self._manager.start_scope(name, made, processes)
            except (DBusError, DBusUnreachable) as error:
                if cgroup.unit_of(leader) == name:
                    break
                if attempt == TRIES or isinstance(error, DBusError):
                    raise ScopeError(f"its scope {name} cannot be made: {error}") from error
            else:
                break
        return self._made(name, leader)

    @staticmethod
    def _made(name: str, leader: int) -> Scope:
        return Scope(way=Way.SYSTEMD, name=name, directory=cgroup.directory_of(leader))

    async def change(self, scope: Scope, old: Limits, new: Limits, disks: Mapping[str, str]) -> None:
        """Turn limits into others. Raises ScopeError."""
        everything = {name: read(file) or "0" for name, file in EVERYTHING.items()}
        changed = properties.between(old, new, disks, everything)
        if changed:
            with _refusals(f"the limits of {scope.name} cannot be changed"):
                await self._manager.set_properties(scope.name, changed)

    async def add(self, scope: Scope, pids: Collection[int]) -> None:
        """Move more processes into a scope. Raises ScopeError."""
        with _refusals(f"processes cannot be moved into {scope.name}"):
            await self._manager.attach(scope.name, [*pids])

    @contextlib.contextmanager
    def stops(self, scope: Scope, stop: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` called when somebody wants systemd to stop a scope; it waits until the scope is empty."""
        path = names.object_path(scope.name)
        self._stops[path] = stop
        try:
            yield
        finally:
            if self._stops.get(path) is stop:
                del self._stops[path]

    async def run(self) -> None:
        """Hear when somebody wants a scope stopped, until cancelled."""
        with self._manager.stop_requests(self._asked):
            await self._connection.run()

    def _asked(self, path: str) -> None:
        if (stop := self._stops.get(path)) is not None:
            stop()


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except (DBusError, DBusUnreachable) as error:
        raise ScopeError(f"{what}: {error}") from error
