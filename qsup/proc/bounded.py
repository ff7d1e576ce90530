"""Files that QEMU writes and the supervisor keeps small, and may read out: its stderr, its log.

QEMU writes into a file, not into a pipe, so that its last words outlive the daemon and nothing blocks it while
no daemon is there. One inotify instance serves all guests (a user may have only 128 of them) and costs nothing
while nobody writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

from qsup.proc.follow import Follower

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.proc.follow import Hearer, Speaker

LIMIT: Final = 1 << 20
"""Bytes on disk after which a file is emptied; its end is kept beside it."""
KEPT: Final = 64 << 10
"""Bytes of the end that are kept in ``FILE.1``."""


class Keeper:
    """Keeps the files that it watches below the limit; ``run`` is its one task. ``hearer`` gets what is written."""

    def __init__(self, hearer: Hearer | None = None) -> None:
        self._inotify = Inotify()
        self._hearer = hearer
        self._followers: dict[Path, Follower] = {}

    def watch(self, path: Path, speaker: Speaker | None = None, *, anew: bool = False) -> None:
        """Keep this file small until it is removed; the kernel ends the watch then.

        What ``speaker`` writes into it is passed on; ``anew``: the process has just been started.
        """
        if speaker is not None and self._hearer is not None:
            self._followers[path] = Follower(path, speaker, self._hearer, anew=anew)
        with contextlib.suppress(OSError):
            self._inotify.add_watch(path, Mask.MODIFY | Mask.CLOSE_WRITE)
        if path in self._followers:
            # It may have written already.
            self._followers[path].news()

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._inotify:
            async for event in self._inotify:
                if event.path is not None:
                    self._see(event.path, event.mask)
                # A file that grows without a pause must not hold up everything else.
                await asyncio.sleep(0)

    def _see(self, path: Path, mask: Mask) -> None:
        if Mask.IGNORED in mask:
            if follower := self._followers.pop(path, None):
                follower.end()
            return
        follower = self._followers.get(path)
        if follower is not None:
            if Mask.CLOSE_WRITE in mask:
                follower.end()
            else:
                follower.news()
        gone = trim(path)
        if gone and follower is not None:
            follower.emptied(gone)


def trim(path: Path) -> int:
    """Empty a file that has grown over the limit; return how long it was, 0 if it was left alone.

    The blocks are counted, not the size: a writer that does not append leaves a hole where the rest was.
    """
    with contextlib.suppress(OSError):
        found = path.stat()
        if found.st_blocks * 512 > LIMIT:
            _kept(path).write_bytes(tail(path, KEPT))
            os.truncate(path, 0)
            return found.st_size
    return 0


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
