"""systemd-machined on the bus (org.freedesktop.machine1(5)): the list of the machines of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.dbus.connection import BUS, Thing
from qsup.errors import DBusError

if TYPE_CHECKING:
    from uuid import UUID

    from qsup.dbus.connection import Connection

SERVICE: Final = "org.freedesktop.machine1"
MANAGER: Final = Thing(SERVICE, "/org/freedesktop/machine1", f"{SERVICE}.Manager")
EXISTS: Final = f"{SERVICE}.MachineExists"
MISSING: Final = frozenset({f"{SERVICE}.NoSuchMachine", "org.freedesktop.DBus.Error.ServiceUnknown"})
OURS: Final = "qsup"
"""What stands under SERVICE in the list."""


class Machines:
    """The machines that machined knows of."""

    def __init__(self, connection: Connection) -> None:
        self._bus = connection

    async def there(self) -> bool:
        """Whether this host has machined, running or not. Raises DBusError, DBusUnreachable."""
        running = (await self._bus.call(BUS, "NameHasOwner", "s", SERVICE)).values[0]
        return bool(running or SERVICE in (await self._bus.call(BUS, "ListActivatableNames")).values[0])

    async def ours(self) -> frozenset[str]:
        """The names of all machines that are there because of us. Raises DBusError, DBusUnreachable."""
        listed = (await self._bus.call(MANAGER, "ListMachines")).values[0]
        return frozenset(name for name, _, service, _ in listed if service == OURS)

    async def register(self, name: str, uuid: UUID, leader: int) -> None:
        """Enter a virtual machine, whose processes are in the unit of its leader. Raises DBusError, DBusUnreachable."""
        words = (name, uuid.bytes, OURS, "vm", leader, "")
        try:
            await self._bus.call(MANAGER, "RegisterMachine", "sayssus", *words)
        except DBusError as error:
            if error.name != EXISTS or name not in await self.ours():
                raise
            # It is the entry of an earlier launch, whose end machined has not noticed yet.
            await self.unregister(name)
            await self._bus.call(MANAGER, "RegisterMachine", "sayssus", *words)

    async def unregister(self, name: str) -> None:
        """Take a machine off the list, if it is there. Raises DBusError, DBusUnreachable."""
        try:
            await self._bus.call(MANAGER, "UnregisterMachine", "s", name)
        except DBusError as error:
            if error.name not in MISSING:
                raise
