"""What systemd keeps of one launch while there is no daemon: a pidfd, and the connection to QEMU's monitor.

With the pidfd the kernel tells how a process ended that nobody saw end; in the connection lie the last events that
QEMU sent. Both are kept until the guest's next launch, so a daemon that dies in the middle of an end loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from qsup.proc.identity import pid_of
from qsup.qmp.unread import unread_events

if TYPE_CHECKING:
    from qsup.fdstore import FdStore
    from qsup.qmp.session import QmpEvent


class Kept:
    """The store's two places for the launch with this token."""

    def __init__(self, store: FdStore, token: str) -> None:
        self._store = store
        self._process, self._monitor = f"process-{token}", f"monitor-{token}"

    def keep_process(self, pidfd: int) -> None:
        """Have the process's pidfd outlive the daemon."""
        self._store.keep(self._process, pidfd)

    def keep_monitor(self, connection: int) -> None:
        """Have a connection to the monitor outlive the daemon, instead of an earlier one."""
        self._store.forget(self._monitor)
        self._store.keep(self._monitor, connection)

    def process(self) -> int | None:
        """The pidfd that an earlier daemon has left, the caller's to close."""
        pidfd = self._store.take(self._process)
        if pidfd is None or pid_of(pidfd) is not None:
            return pidfd
        self._store.forget(self._process)
        return None

    def unheard(self) -> list[QmpEvent]:
        """The events that came while no daemon listened. The connection is given up: QEMU serves one at a time."""
        fd = self._store.take(self._monitor)
        if fd is None:
            return []
        self._store.forget(self._monitor)
        try:
            connection = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            return []
        with connection:
            events = unread_events(connection)
            # If QEMU has ended there is nobody to hang up on.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return events

    def forget(self) -> None:
        """Have nothing kept any longer."""
        self._store.forget(self._process)
        self._store.forget(self._monitor)
