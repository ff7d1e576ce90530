"""What a process writes into a file that is kept small, line by line as it comes, and each once.

How far the file has been read is written down beside it, so that the next daemon goes on there.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from qsup import atomic

if TYPE_CHECKING:
    from pathlib import Path

CHUNK: Final = 32 << 10
"""Bytes that are read at a time; of more that was written meanwhile, the last."""
LINE: Final = 2048
"""Bytes of a line that are heard."""


class Speaker(msgspec.Struct, frozen=True):
    """Who writes: the process of a guest, and what it is called among the guest's if it is not QEMU."""

    guest: str
    pid: int
    helper: str = ""


class Hearer(Protocol):
    """Gets what is written."""

    def listens(self, speaker: Speaker) -> bool:
        """Whether a line would be heard now; if not, nothing is read for the time being."""

    def hear(self, speaker: Speaker, lines: list[bytes]) -> None:
        """Lines, without their ends, none of them empty or of more than ``LINE`` bytes."""

    def miss(self, speaker: Speaker, count: int) -> None:
        """So many bytes came too fast to be read."""

    def end(self, speaker: Speaker) -> None:
        """Nothing more comes."""


class Follower:
    """Reads one file. ``anew``: all of it is from a process that has just been started."""

    def __init__(self, path: Path, speaker: Speaker, hearer: Hearer, *, anew: bool) -> None:
        self._path = path
        self._speaker = speaker
        self._hearer = hearer
        self._unfinished = b""
        self._note = path.with_name(f"{path.name}.read")
        self._read = self._noted(anew=anew)

    def news(self) -> None:
        """Something was written."""
        if self._hearer.listens(self._speaker):
            self._take()

    def emptied(self, size: int) -> None:
        """The file, which had so many bytes, was cut down to nothing."""
        if size > self._read:
            self._miss(size - self._read)
        self._read = 0

    def end(self) -> None:
        """Nobody has the file open for writing any more."""
        self._take()
        if self._unfinished:
            self._hearer.hear(self._speaker, [self._unfinished])
            self._unfinished = b""
        self._hearer.end(self._speaker)

    def _take(self) -> None:
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                begin = self._read if self._read <= size else 0
                missed = max(0, size - begin - CHUNK)
                file.seek(begin + missed)
                data = file.read(CHUNK)
        except OSError:
            return
        if missed:
            self._miss(missed)
        if data:
            self._read = begin + missed + len(data)
            self._split(data)
            # Without the note a line may be heard twice, or not at all.
            with contextlib.suppress(OSError):
                atomic.write_whole(self._note, b"%d\n" % self._read, durable=False)

    def _miss(self, count: int) -> None:
        self._unfinished = b""
        self._hearer.miss(self._speaker, count)

    def _split(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        *lines, self._unfinished = [self._unfinished + first[:LINE], *others]
        self._unfinished = self._unfinished[:LINE]
        if whole := [line[:LINE] for line in lines if line]:
            self._hearer.hear(self._speaker, whole)

    def _noted(self, *, anew: bool) -> int:
        """How far an earlier daemon has read; without its word everything that is not new is taken for old."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._note.read_bytes()[:20])
        with contextlib.suppress(OSError):
            return 0 if anew else self._path.stat().st_size
        return 0
