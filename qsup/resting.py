"""Which guests were paused because the host sleeps, kept so that the next daemon knows it as well."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qsup.atomic import read_file, write_whole

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

LIMIT: Final = 1 << 20
"""Bytes of the file."""


class Resting:
    """The names of those that were paused for a suspend, each a line of a file that outlives the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = self._read()
        """Those that are to go on."""

    def _read(self) -> list[str]:
        try:
            return read_file(self._path, LIMIT).decode(errors="replace").split()
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("which guests were paused for the host's sleep cannot be read: %s", error)
            return []

    def are(self, names: list[str]) -> None:
        """Write them down for the next daemon, without waiting for a disk."""
        self.names = names
        try:
            if names:
                write_whole(self._path, "".join(f"{name}\n" for name in names).encode(), durable=False)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("which guests are paused for the host's sleep cannot be written down: %s", error)
