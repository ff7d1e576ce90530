"""What a serial port has printed in the present run: for whoever begins to listen when the run is under way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from qsup import atomic
from qsup.proc.rotated import START, Place

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.proc.rotated import RotatedLog

KEPT: Final = 16 << 10
"""Bytes that are kept in memory where there is no log."""


class Printed:
    """The output of one run, as far as the log goes back; of a port without a log, the last of it.

    A log holds many runs. Where the present one begins in it is written down in the directory of the launch, for
    the daemon that adopts the guest.
    """

    def __init__(self, log: RotatedLog | None) -> None:
        self._log = log
        self._note: Path | None = None
        """Where the beginning is written down; None as long as there is no run."""
        self._noted: Place | None = None
        self._recent = bytearray()

    def begin(self, directory: Path, file: str) -> None:
        """A QEMU is connected, the one whose sockets are in ``directory``: another run if that is another one."""
        note = directory / f"{file}.began"
        if note == self._note:
            return
        self._note = note
        self._recent.clear()
        if self._log is not None:
            self._noted = _read(note)
            self._log.mark = self._noted or self._log.end() or START
            self._write_down(self._log.mark)

    def add(self, data: bytes) -> None:
        """More output; the log has it already."""
        if self._log is None:
            self._recent += data
            del self._recent[: max(0, len(self._recent) - KEPT)]
        else:
            self._write_down(self._log.mark)

    def tail(self, limit: int) -> bytes:
        """The last bytes of the present run."""
        if self._log is None:
            return bytes(self._recent[-limit:])
        return self._log.since_mark(limit) if self._note else b""

    def _write_down(self, place: Place) -> None:
        if place == self._noted or self._note is None:
            return
        self._noted = place
        # Without the note the next daemon takes what it finds in the log for what an earlier run has printed.
        with contextlib.suppress(OSError):
            atomic.write_whole(self._note, b"%d %d\n" % place, durable=False)


def _read(note: Path) -> Place | None:
    with contextlib.suppress(OSError, ValueError):
        inode, offset = note.read_text(encoding="ascii").split()
        return Place(int(inode), int(offset))
    return None
