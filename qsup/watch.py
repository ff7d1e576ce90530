"""Tells when the configuration directory has changed, and otherwise sleeps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUIET: Final = 0.2
"""Seconds without a further change before it is told: editors and package managers write in several steps."""
PATIENCE: Final = 2.0
"""Seconds after which it is told even if changes go on."""
CHANGES: Final = Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.DELETE | Mask.CREATE
SUBDIRECTORIES: Final = ("guests", "profiles")


class ConfigWatch:
    """An asynchronous iterator: once for each burst of changes to TOML files in the directory, guests and profiles.

    The kernel counts from construction on: what changes between the first reading and the first turn is not missed.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._inotify = Inotify()
        self._watched: set[Path] = set()
        self._extend()

    async def __aiter__(self) -> AsyncIterator[None]:
        with self._inotify:
            while True:
                await self._burst()
                self._extend()
                yield

    async def _burst(self) -> None:
        """Wait for a change that matters, then until it is quiet."""
        while not _matters(await self._inotify.get()):
            pass
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    async with asyncio.timeout(QUIET):
                        await self._inotify.get()

    def _extend(self) -> None:
        """Watch the directories that exist; those made later are found through the one above them."""
        for directory in (self._config, *(self._config / name for name in SUBDIRECTORIES)):
            if not directory.is_dir():
                self._watched.discard(directory)
            elif directory not in self._watched:
                with contextlib.suppress(OSError):
                    self._inotify.add_watch(directory, CHANGES)
                    self._watched.add(directory)


def _matters(event: object) -> bool:
    path = getattr(event, "path", None)
    return path is not None and (path.suffix == ".toml" or path.name in SUBDIRECTORIES)
