"""A process that the supervisor watches through a pidfd: its own child, or one adopted from an earlier daemon."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
from typing import TYPE_CHECKING, Final, Self

from qsup import clock
from qsup.pidfd import end_of, has_ended
from qsup.proc.identity import GONE, Identity, identify, is_qemu, open_verified, pid_of
from qsup.spawn.order import ANYWHERE, Memory, Order
from qsup.spawn.spawn import reap, spawn
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""All that a process gets to see, beside ``TIME_ZONE``, a helper's mark and what a QEMU's invocation names."""
TIME_ZONE: Final = "TZ"
"""Handed on if the daemon has it: a guest's local time is the daemon's."""

# ioctl(pidfd, PIDFD_GET_INFO) of Linux 6.13, struct pidfd_info of 64 bytes; PIDFD_INFO_EXIT came with 6.15.
_GET_INFO: Final = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
_INFO_EXIT: Final = 1 << 3
_TO_GROUP: Final = 1 << 2
"""PIDFD_SIGNAL_PROCESS_GROUP of Linux 6.9."""
STATUS_PATIENCE: Final = 5.0
"""Seconds that the parent of an adopted process may take to reap it; before that the kernel tells no status."""


class Process:
    """One process, QEMU or a helper. ``wait`` may be called once, ``close`` always has to be."""

    def __init__(self, identity: Identity, pidfd: int) -> None:
        self.identity = identity
        self._pidfd = pidfd

    @property
    def pid(self) -> int:
        """Its pid, for people; signals go through the pidfd."""
        return self.identity.pid

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        fds: Mapping[int, int],
        token: str,
        more: Mapping[str, str] | None = None,
        memory: Memory = ANYWHERE,
    ) -> Self:
        """Execute ``argv`` in a session of its own with exactly the given fds (target number → our fd).

        ``more`` is added to its environment. Raises LaunchError if the binary cannot be executed.
        """
        zone = os.environ.get(TIME_ZONE)
        environment = {**ENVIRONMENT, **({TIME_ZONE: zone} if zone else {}), **(more or {})}
        born = spawn(Order.of(argv, environment, fds, memory, kept=True), tuple(fds.values()))
        # Whoever is its parent has not reaped it, so this cannot be a stranger's pid.
        return cls(identify(born.pid, token), born.pidfd)

    @classmethod
    def adopt(cls, identity: Identity, proof: Callable[[Identity], bool] = is_qemu) -> Self | None:
        """The very process, alive or just ended; None if it is gone. ``proof`` says by what it is recognised."""
        pidfd = open_verified(identity, proof)
        return None if pidfd is None else cls(identity, pidfd)

    @classmethod
    def kept(cls, identity: Identity, pidfd: int | None) -> Self | None:
        """The very process by a pidfd that an earlier daemon has left, alive, ended or long gone; None if it is not."""
        if pidfd is None or identity.boot_id != clock.boot_id():
            return None
        if pid_of(pidfd) in (identity.pid, GONE):
            return cls(identity, pidfd)
        os.close(pidfd)
        return None

    @classmethod
    def gone(cls, identity: Identity) -> Self:
        """A process that has ended, and of which nobody has kept anything."""
        return cls(identity, -1)

    @property
    def pidfd(self) -> int:
        """What stands for it, as long as it is not closed."""
        return self._pidfd

    @property
    def ended(self) -> bool:
        """Whether it has ended, be it reaped or not, without waiting."""
        return self._pidfd < 0 or has_ended(self._pidfd)

    async def wait(self) -> ExitStatus | None:
        """Wait for the end; return the status, or None as long as neither its parent nor the kernel tells it."""
        if self._pidfd < 0:
            return None
        await end_of(self._pidfd)
        if (status := reap(self._pidfd)) is not None:
            return status
        with contextlib.suppress(OSError):
            return _exit_info(self._pidfd)
        return None

    async def late_status(self, patience: float = STATUS_PATIENCE) -> ExitStatus | None:
        """The status of an adopted process, once its parent has reaped it; None if that takes too many seconds."""
        if self._pidfd < 0:
            return None
        pause = 0.002
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(patience):
                # No event announces the reaping of a stranger's child: the kernel has to be asked.
                while (status := _exit_info(self._pidfd)) is None:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
                return status
        return None

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended meanwhile is no error."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to its children that are left, wherever the kernel can do that safely."""
        with contextlib.suppress(ProcessLookupError):
            try:
                signal.pidfd_send_signal(self._pidfd, number, None, _TO_GROUP)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Forget the process; it is not touched."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _exit_info(pidfd: int) -> ExitStatus | None:
    """The wait status of any reaped process of which a pidfd is held; None as long as it is not reaped.

    Raises OSError where the kernel is too old to tell, which may be only once it is reaped.
    """
    buffer = bytearray(struct.pack("=Q56x", _INFO_EXIT))
    fcntl.ioctl(pidfd, _GET_INFO, buffer)
    mask, status = struct.unpack("=Q52xi", buffer)
    return ExitStatus.from_wait(status) if mask & _INFO_EXIT else None
