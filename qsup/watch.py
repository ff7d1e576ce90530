"""Tells when the configuration directory has changed, and otherwise sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from asyncinotify import Event, Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

QUIET: Final = 0.2
"""Seconds without a further change before it is told: editors and package managers write in several steps."""
PATIENCE: Final = 2.0
"""Seconds after which it is told even if changes go on."""
CHANGES: Final = Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.DELETE | Mask.CREATE
SUBDIRECTORIES: Final = ("guests", "profiles")
DROPINS: Final = ".toml.d"
LIMIT: Final = 1000
"""Directories of drop-ins that are watched; by default a user may have 8192 watches in all on older kernels."""


class ConfigWatch:
    """An asynchronous iterator: once for each burst of changes to TOML files in the directory, guests and profiles.

    The kernel counts from construction on: what changes between the first reading and the first turn is not missed.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._inotify = Inotify()
        self._said = False
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
        """Watch the directories that exist; those made later are found through the one above them.

        To watch one that is watched already changes nothing, and one that was removed and made anew is another.
        """
        for directory in self._directories():
            with contextlib.suppress(OSError):
                self._inotify.add_watch(directory, CHANGES | Mask.ONLYDIR)

    def _directories(self) -> Iterator[Path]:
        yield self._config
        yield from (self._config / name for name in SUBDIRECTORIES)
        dropins = self._config / SUBDIRECTORIES[0]
        try:
            found = sorted(path for path in dropins.iterdir() if path.name.endswith(DROPINS))
        except OSError:
            return
        yield from found[:LIMIT]
        if len(found) > LIMIT and not self._said:
            self._said = True
            log.warning(
                "%s: more than %d directories of drop-ins; the rest needs `qsup reload`", dropins, LIMIT
            )


def _matters(event: Event) -> bool:
    if Mask.Q_OVERFLOW in event.mask:
        return True  # The kernel had too many to tell; one of them may have mattered.
    path = event.path
    return path is not None and (
        path.suffix == ".toml" or path.name in SUBDIRECTORIES or path.name.endswith(DROPINS)
    )
