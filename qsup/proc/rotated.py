"""A log of bounded size: what is too old goes to ``FILE.1``, what is older than that is gone."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.proc.bounded import tail

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A place in a log, which stays the same when the log is rotated: a file, and how many bytes of it."""

    inode: int
    offset: int


START: Final = Place(0, 0)
"""Before everything that a log still has."""


class RotatedLog:
    """Appends bytes to a file that is rotated before it would exceed ``limit`` bytes.

    A full disk or a missing directory costs log, never the caller.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._fd = -1
        self._size = 0
        self.lost = 0
        """Bytes that could not be written."""
        self.mark = START
        """A place that is kept in mind."""

    def append(self, data: bytes) -> None:
        """Write at the end; what cannot be written is counted, and the first such loss is logged."""
        try:
            self._open()
            if self._size and self._size + len(data) > self._limit:
                # Before the write: a log that cannot be rotated must not grow either.
                self._rotate()
            written = os.write(self._fd, data)
            self._size += written
            self._missed(len(data) - written, "the disk is full")
        except OSError as error:
            self.close()
            self._missed(len(data), error.strerror or "error")

    def _missed(self, count: int, why: str) -> None:
        if count and not self.lost:
            log.warning(
                "%s cannot be written (%s); what the guest prints is lost until it can", self._path, why
            )
        self.lost += count

    def _open(self) -> None:
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        if _inode(self._older) == self.mark.inode:
            # That file goes now, and the next one may get its number.
            self.mark = START
        self._path.replace(self._older)
        self._open()

    @property
    def _older(self) -> Path:
        return self._path.with_name(f"{self._path.name}.1")

    def tail(self, limit: int) -> bytes:
        """The last ``limit`` bytes, out of both files."""
        recent = tail(self._path, limit)
        missing = limit - len(recent)
        return (tail(self._older, missing) if missing > 0 else b"") + recent

    def end(self) -> Place | None:
        """Where the next byte will be written; None if nothing can be."""
        try:
            self._open()
            return Place(os.fstat(self._fd).st_ino, self._size)
        except OSError:
            return None

    def since_mark(self, limit: int) -> bytes:
        """The last ``limit`` bytes of what was written after the mark, as far as it is kept."""
        found = b""
        for path in (self._path, self._older):
            marked = _inode(path) == self.mark.inode
            size = _size(path) - (self.mark.offset if marked else 0)
            found = tail(path, max(0, min(size, limit - len(found)))) + found
            if marked:
                break
        return found

    def close(self) -> None:
        """Close the file; the next byte opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
