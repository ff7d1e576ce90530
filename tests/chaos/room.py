"""File systems of their own for a storm's directories, so that they can be filled and nobody else is harmed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SIZE = "48m"
BALLAST = "ballast"
PIECE = 1 << 16


class Room:
    """A tmpfs in each of the directories; a context manager. ``why_not`` says why there are none."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self.places = places
        self.why_not: str | None = None

    def __enter__(self) -> Self:
        for path in self.places.values():
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "storm", path],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                self.why_not = done.stderr.strip() or "mount failed"
                break
        return self

    def __exit__(self, *_: object) -> None:
        for path in self.places.values():
            if path.is_mount():
                subprocess.run(["umount", "--lazy", path], check=True)

    def fill(self, name: str) -> None:
        """Leave no byte free."""
        fd = os.open(self.places[name] / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        piece = PIECE
        while piece:
            try:
                os.write(fd, bytes(piece))
            except OSError:
                piece //= 2
        os.close(fd)

    def free(self, name: str) -> None:
        """Give the room back."""
        with contextlib.suppress(FileNotFoundError):
            (self.places[name] / BALLAST).unlink()
