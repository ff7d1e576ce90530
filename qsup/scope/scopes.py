"""Each guest in a cgroup of its own, where the host limits and shows it: a scope of systemd's, if that runs.

The processes exist already when they come there. Moving them takes systemd about as long as a QEMU takes to begin, so
it is done beside that.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from qsup.dbus.connection import Connection
from qsup.errors import ScopeError
from qsup.paths import usual_runtime
from qsup.scope import ground, names, tree
from qsup.scope.ground import Way
from qsup.scope.kills import KillCounts
from qsup.scope.listing import Listing
from qsup.scope.units import Units

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager

    from qsup.paths import Paths
    from qsup.scope.wish import Scope, Wish
    from qsup.spec.model import DaemonConfig
    from qsup.spec.tables.limits import Limits


log = logging.getLogger(__name__)


class Scopes:
    """The scopes of one daemon's guests. ``run`` is its task, without which nothing that systemd says is heard."""

    def __init__(self, paths: Paths) -> None:
        self._tag = names.tag(str(paths.runtime), usual_runtime())
        self._enabled = self._listed = True
        self.kills = KillCounts()
        address = ground.bus_address()
        self.connection = Connection(address) if address is not None else None
        """The bus on which this user's systemd is to be found."""
        self._units = Units(self.connection) if self.connection is not None else None
        self._listing = Listing(self.connection, self._tag) if self.connection is not None else None

    def configure(self, config: DaemonConfig) -> None:
        """Do from now on as the daemon's file says."""
        self._enabled, self._listed = config.scopes, config.machined

    def ground(self) -> ground.Ground:
        """What limits can stand on now."""
        return ground.look(enabled=self._enabled)

    def settle(self) -> None:
        """Make room for guests before the first one comes."""
        here = self.ground()
        if here.way is Way.CGROUP:
            try:
                tree.settle(here)
            except OSError as error:
                log.warning("guests cannot have cgroups of their own: %s, ignoring", error)

    async def run(self) -> None:
        """Hear what systemd says, until cancelled."""
        if self._units is None or self.connection is None:
            return
        try:
            await self._units.run()
        finally:
            await self.connection.close()

    async def put(self, wish: Wish, leader: int, processes: Mapping[int, int]) -> Scope | None:
        """Put processes (pid → pidfd) into a scope of their own; None if there can be none. Raises ScopeError."""
        here, name = self.ground(), names.scope(wish.guest, self._tag)
        if here.way is Way.SYSTEMD and self._units is not None:
            return await self._units.put(wish, name, leader, processes)
        if here.way is Way.CGROUP:
            return await tree.put(here, wish, name.removesuffix(".scope"), processes)
        return None

    async def change(self, scope: Scope, old: Limits, new: Limits, disks: Mapping[str, str]) -> None:
        """Turn the limits of a scope into others. Raises ScopeError."""
        if scope.way is Way.CGROUP:
            await tree.change(scope, old, new, disks)
        else:
            await self._systemd(scope).change(scope, old, new, disks)

    async def add(self, scope: Scope, pids: Collection[int]) -> None:
        """Move more processes into a scope. Raises ScopeError."""
        if scope.way is Way.CGROUP:
            await tree.add(scope, pids)
        else:
            await self._systemd(scope).add(scope, pids)

    def _systemd(self, scope: Scope) -> Units:
        if self._units is None:
            raise ScopeError(f"systemd cannot be asked about {scope.name}: there is no bus")
        return self._units

    def stops(self, scope: Scope, stop: Callable[[], None]) -> AbstractContextManager[None]:
        """Have ``stop`` called when somebody wants systemd to stop a scope; it waits until the scope is empty."""
        return nullcontext() if self._units is None else self._units.stops(scope, stop)

    async def enter(self, wish: Wish, scope: Scope, leader: int) -> None:
        """Have a guest listed as a machine, where that is done."""
        if self._listed and scope.way is Way.SYSTEMD and self._listing is not None:
            await self._listing.enter(wish, leader)

    async def left(self, guest: str, scope: Scope) -> None:
        """A guest's processes have ended: remove what does not go by itself."""
        if scope.way is Way.CGROUP:
            await tree.remove(scope)
        elif self._listing is not None:
            await self._listing.leave(guest)
