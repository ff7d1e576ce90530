"""Files that QEMU writes and the supervisor keeps small: its stderr, its log.

QEMU writes into a file, not into a pipe, so that its last words outlive the daemon and nothing blocks it while
no daemon is there. One inotify instance serves all guests (a user may have only 128 of them) and costs nothing
while nobody writes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 1 << 20
"""Bytes on disk after which a file is emptied; its end is kept beside it."""
KEPT: Final = 64 << 10
"""Bytes of the end that are kept in ``FILE.1``."""


class Keeper:
    """Keeps the files that it watches below the limit; ``run`` is its one task."""

    def __init__(self) -> None:
        self._inotify = Inotify()

    def watch(self, path: Path) -> None:
        """Keep this file small until it is removed; the kernel ends the watch then."""
        with contextlib.suppress(OSError):
            self._inotify.add_watch(path, Mask.MODIFY)

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._inotify:
            async for event in self._inotify:
                if event.path is not None and Mask.IGNORED not in event.mask:
                    trim(event.path)


def trim(path: Path) -> None:
    """Empty a file that has grown over the limit.

    The blocks are counted, not the size: a writer that does not append leaves a hole where the rest was.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_blocks * 512 > LIMIT:
            _kept(path).write_bytes(tail(path, KEPT))
            os.truncate(path, 0)


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def last_written(path: Path, limit: int) -> bytes:
    """The last bytes that were written to a file that is kept small, those before it was emptied included."""
    recent = tail(path, limit)
    missing = limit - len(recent)
    return (tail(_kept(path), missing) if missing > 0 else b"") + recent


def tail(path: Path, limit: int) -> bytes:
    """The last bytes of a file; empty if it is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read(limit).lstrip(b"\0")
    except OSError:
        return b""
