"""A process that is started for what it tells or does, and not to stay."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, Self

from qsup.pidfd import has_ended
from qsup.spawn.order import Order
from qsup.spawn.spawn import reap, spawn
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEATH: Final = 1.0
"""Seconds that a killed process may take to go. One that hangs in the kernel is left to it."""


class Child:
    """Leads a session of its own; until ``end`` its pid and its group can be nobody else's."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], fds: Mapping[int, int]) -> None:
        """Execute ``argv``, an absolute path first, with these fds (number there → ours). Raises LaunchError."""
        order = Order.of(argv, environment, fds)
        self.pid, self.pidfd = spawn(order, tuple(fds.values()))
        self._status: ExitStatus | None = None

    @classmethod
    def printing(
        cls, argv: Sequence[str], environment: Mapping[str, str], fds: Mapping[int, int], *, errors: bool
    ) -> tuple[Self, int]:
        """One that reads nothing, and the end of the pipe into which it prints, its errors as well or left out.

        That end is the caller's to close. Raises LaunchError.
        """
        reader, writer = os.pipe()
        try:
            with open(writer, "wb", buffering=0), open(os.devnull, "r+b", buffering=0) as null:
                standard = {0: null.fileno(), 1: writer, 2: writer if errors else null.fileno()}
                return cls(argv, environment, {**standard, **fds}), reader
        except BaseException:
            os.close(reader)
            raise

    def wait(self, seconds: float = 0) -> ExitStatus | None:
        """Its status, if it ends in this time. Blocks."""
        if self._status is None and has_ended(self.pidfd, seconds):
            # A parent that has gone itself does not tell any more.
            self._status = reap(self.pidfd) or ExitStatus("signal", signal.SIGKILL)
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it has started and that is still of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> ExitStatus:
        """Have it end with all that it has started, if it still runs; forget it, and return its status. Blocks."""
        if self.wait() is None:
            self.signal(signal.SIGKILL)
        status = self.wait(DEATH)
        self.close()
        return status or ExitStatus("signal", signal.SIGKILL)

    def close(self) -> None:
        """Forget it. It should have ended."""
        os.close(self.pidfd)
