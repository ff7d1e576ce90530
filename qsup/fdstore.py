"""The fds that systemd keeps for the daemon while there is none: sd_notify(3) ``FDSTORE=1`` and sd_listen_fds(3).

An fd that is stored goes on existing when the daemon dies, and is handed to the next one under the same name. Without
systemd, or with ``FileDescriptorStoreMax=0``, nothing is kept and nothing is found, which is no error.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from qsup.notify import Notifier

log = logging.getLogger(__name__)

FIRST: Final = 3
"""The number of the first fd that systemd hands over (``SD_LISTEN_FDS_START``)."""
MOST: Final = 65536
"""More fds than any manager hands over."""


def inherited(environ: MutableMapping[str, str] = os.environ) -> dict[str, list[int]]:
    """The fds that the service manager has handed over, by name, close-on-exec from now on.

    Takes the variables away, so that no child takes them for its own. Follows sd_listen_fds_with_names(3).
    """
    pid, count, names = (environ.pop(f"LISTEN_{key}", "") for key in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()) or int(count) > MOST:
        return {}
    found: dict[str, list[int]] = {}
    known = names.split(":")
    for place in range(int(count)):
        fd = FIRST + place
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            log.warning("the service manager speaks of fd %d, which is not open: %s", fd, error.strerror)
            continue
        found.setdefault(known[place] if place < len(known) else "unknown", []).append(fd)
    return found


class FdStore:
    """What this daemon gives to systemd to keep, and what an earlier one has given."""

    def __init__(self, notifier: Notifier, found: Mapping[str, list[int]]) -> None:
        self._notifier = notifier
        self._found = {name: list(fds) for name, fds in found.items()}

    def keep(self, name: str, fd: int) -> None:
        """Have systemd hold a copy of the fd; the caller's own stays its own. A colon must not be in the name."""
        self._notifier.store(name, fd)

    def forget(self, name: str) -> None:
        """Have systemd close what it holds under this name."""
        for fd in self._found.pop(name, ()):
            os.close(fd)
        self._notifier.unstore(name)

    def take(self, name: str) -> int | None:
        """What an earlier daemon has left under this name, the caller's to close; systemd goes on holding it."""
        fds = self._found.pop(name, [])
        for surplus in fds[1:]:
            os.close(surplus)
        return fds[0] if fds else None

    def forget_rest(self) -> None:
        """Nobody wants what has not been taken by now."""
        for name in tuple(self._found):
            self.forget(name)
