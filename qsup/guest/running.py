"""What is held of one QEMU process, or is left of it: who it is, from which spec it was made, what it has written."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import QEMU_LOG
from qsup.proc.bounded import last_written

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.guest.helpers import Helpers
    from qsup.guest.kept import Kept
    from qsup.guest.placing import Placing
    from qsup.guest.record import LaunchRecord
    from qsup.proc.process import Process
    from qsup.spec.model import GuestSpec

STDERR: Final = "stderr.log"
"""QEMU's stdout and stderr, in the run directory."""
STDERR_TAIL: Final = 4096
"""Bytes of stderr that go with an end."""
LOG_SIGHT: Final = 256 << 10
"""Bytes of QEMU's log that are searched at a reset; a triple fault is written just before it."""
TRIPLE_FAULT: Final = b"Triple fault"
MACHINE_RESET: Final = b"CPU Reset (CPU 0)"
"""What QEMU writes at each reset of the machine, once it is done, and at no other time while the machine runs."""
_RUN_STATE: Final = re.compile(rb"(?m)(?:^|:)runstate_set current_run_state .* new_state \d+ \((.+)\)$")
_POWERED_OFF: Final = re.compile(rb"(?m)(?:^|:)qemu_system_shutdown_request reason=")


@dataclass
class Running:
    """One QEMU process and all that belongs to it, while it runs and until what is left of it has been told."""

    process: Process
    record: LaunchRecord
    spec: GuestSpec
    """The spec that it was launched from; the guest's file may have changed since."""
    run_dir: Path
    helpers: Helpers
    placing: Placing
    kept: Kept
    """What systemd keeps of it."""
    log_read: int = 0
    """How much of QEMU's log has been looked at, or is of a time that nobody listened."""

    @property
    def token(self) -> str:
        """The launch's identity."""
        return self.record.token

    def stderr(self, limit: int = STDERR_TAIL) -> str:
        """The end of what QEMU wrote."""
        return last_written(self.run_dir / STDERR, limit).decode(errors="replace")

    def saw_triple_fault(self) -> bool:
        """Whether QEMU's log, which tells that under TCG only, has one since it was last asked."""
        try:
            with (self.run_dir / QEMU_LOG).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self.log_read, end - LOG_SIGHT))
                news = file.read(LOG_SIGHT)
        except OSError:
            return False
        self.log_read = end
        return TRIPLE_FAULT in news

    def disregard_log(self) -> None:
        """Take what QEMU's log has so far for no news: it is about resets whose events nobody has heard."""
        with contextlib.suppress(OSError):
            self.log_read = (self.run_dir / QEMU_LOG).stat().st_size

    def triple_faults(self) -> list[bool]:
        """Whether QEMU's log has one before each reset of the machine, the last reset last, and then since that."""
        log = last_written(self.run_dir / QEMU_LOG, LOG_SIGHT)
        return [TRIPLE_FAULT in part for part in log.split(MACHINE_RESET)]

    def came_to_rest_by(self) -> str | None:
        """What has brought its guest to rest, by QEMU's log: ``guest-shutdown``, ``guest-reset``, ``triple-fault``.

        None if the log does not tell. See :mod:`qsup.argv.process` on what is written there, and when.
        """
        log = last_written(self.run_dir / QEMU_LOG, LOG_SIGHT)
        changes = list(_RUN_STATE.finditer(log))
        if not changes or changes[-1][1] != b"shutdown":
            return None
        before = log[changes[-2].end() if len(changes) > 1 else 0 : changes[-1].start()]
        # A reset after which the guest went on is not the one that has brought it to rest.
        before = before.rpartition(MACHINE_RESET)[2]
        if _POWERED_OFF.search(before):
            return "guest-shutdown"
        return "triple-fault" if TRIPLE_FAULT in before else "guest-reset"
