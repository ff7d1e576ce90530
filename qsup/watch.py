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


async def changes(config: Path) -> AsyncIterator[None]:
    """Yield once for each burst of changes to TOML files in the directory, its guests and profiles."""
    with Inotify() as inotify:
        watched: set[Path] = set()
        _watch(inotify, config, watched)
        while True:
            await _burst(inotify)
            _watch(inotify, config, watched)
            yield


async def _burst(inotify: Inotify) -> None:
    """Wait for a change that matters, then until it is quiet."""
    while not _matters(await inotify.get()):
        pass
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                async with asyncio.timeout(QUIET):
                    await inotify.get()


def _matters(event: object) -> bool:
    path = getattr(event, "path", None)
    return path is not None and (path.suffix == ".toml" or path.name in SUBDIRECTORIES)


def _watch(inotify: Inotify, config: Path, watched: set[Path]) -> None:
    """Watch the directories that exist; those made later are found through the one above them."""
    for directory in (config, *(config / name for name in SUBDIRECTORIES)):
        if not directory.is_dir():
            watched.discard(directory)
        elif directory not in watched:
            with contextlib.suppress(OSError):
                inotify.add_watch(directory, CHANGES)
                watched.add(directory)
