"""Guests in the list of machines that systemd-machined keeps, where it is installed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from qsup.dbus.machined import Machines
from qsup.errors import DBusError, DBusUnreachable
from qsup.scope import names

if TYPE_CHECKING:
    from qsup.dbus.connection import Connection
    from qsup.scope.wish import Wish

log = logging.getLogger(__name__)


class Listing:
    """The machines of one daemon. That one cannot be listed harms nobody, and is told once."""

    def __init__(self, connection: Connection, tag: str) -> None:
        self._machines = Machines(connection)
        self._tag = tag
        self._listed: set[str] | None = None
        """Those that are known to be on the list; None until it has been looked at."""
        self._looking = asyncio.Lock()
        self._complained = False

    async def enter(self, wish: Wish, leader: int) -> None:
        """Have a guest listed, whose processes are in their scope by now."""
        name = names.machine(wish.guest, self._tag)
        try:
            async with self._looking:
                if self._listed is None:
                    self._listed = set(await self._machines.ours()) if await self._machines.there() else None
            if self._listed is not None and name not in self._listed:
                await self._machines.register(name, wish.uuid, leader)
                self._listed.add(name)
        except (DBusError, DBusUnreachable) as error:
            self._complain(f"{name} cannot be listed by systemd-machined: {error}, ignoring")
        else:
            self._complained = False

    async def leave(self, guest: str) -> None:
        """Take a guest off the list; machined would notice by itself, and later."""
        name = names.machine(guest, self._tag)
        if self._listed is None or name not in self._listed:
            return
        self._listed.discard(name)
        try:
            await self._machines.unregister(name)
        except (DBusError, DBusUnreachable) as error:
            self._complain(f"{name} cannot be taken off the list of systemd-machined: {error}, ignoring")

    def _complain(self, sentence: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning("%s", sentence)
