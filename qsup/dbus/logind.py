"""systemd-logind on the bus (org.freedesktop.login1(5)): what may not happen to the host just now, and its suspends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.dbus.connection import Thing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from qsup.dbus.connection import Connection

SERVICE: Final = "org.freedesktop.login1"
MANAGER: Final = Thing(SERVICE, "/org/freedesktop/login1", f"{SERVICE}.Manager")
WHO: Final = "qsupd"


class Logind:
    """The manager of the host's power."""

    def __init__(self, connection: Connection) -> None:
        self._bus = connection

    async def inhibit(self, what: str, why: str, mode: str) -> int:
        """Inhibit ``shutdown`` or ``sleep``, by ``block`` or ``delay``, until the fd that is returned is closed.

        See https://systemd.io/INHIBITOR_LOCKS/. Raises DBusError, DBusUnreachable.
        """
        reply = await self._bus.call(MANAGER, "Inhibit", "ssss", what, WHO, why, mode)
        return reply.fds[int(reply.values[0])]

    async def falls_asleep(self) -> bool:
        """Whether the host is about to sleep, or does so. Raises DBusError, DBusUnreachable."""
        return bool(await self._bus.get(MANAGER, "PreparingForSleep"))

    def sleeping(self, hear: Callable[[bool], None]) -> AbstractAsyncContextManager[None]:
        """Hear that the host is about to sleep (True) and that it is awake again. Raises DBusError, DBusUnreachable."""
        return self._bus.listening(
            SERVICE, MANAGER.interface, "PrepareForSleep", lambda signal: hear(bool(signal.values[0]))
        )
