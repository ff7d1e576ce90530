"""Telling systemd how the daemon is: the protocol of sd_notify(3), on the standard library.

A message is a handful of ``KEY=value`` lines in one datagram, sent to the socket that ``NOTIFY_SOCKET``
names. Without that variable every call does nothing, so the daemon says the same words under systemd and in a
terminal.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

from qsup.post import Post

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

STATUS_LIMIT: Final = 512
"""A status line is cut at this many characters: it is one line of ``systemctl status``."""


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds between two ``WATCHDOG=1``, half of what systemd allows; None if this process owes none.

    Follows sd_watchdog_enabled(3): ``WATCHDOG_PID``, if set, must be this process.
    """
    allowed, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    if not (allowed.isascii() and allowed.isdigit()) or int(allowed) == 0:
        return None
    return int(allowed) / 1_000_000 / 2


class Notifier:
    """Speaks to the service manager at ``address``: a path, or an abstract name written with a leading ``@``.

    None or an empty address makes every method a no-op. A message that cannot be delivered is logged once and
    dropped: a manager that is restarting or gone is no reason for the daemon to stop. One that is slow is waited for,
    aside. ``close`` ends that.
    """

    def __init__(self, address: str | None) -> None:
        self._post = Post(_sockaddr(address), self._lost) if address else None
        self._failed = False

    @classmethod
    def from_environment(cls) -> Notifier:
        """The notifier of this process. Takes ``NOTIFY_SOCKET`` away, so that no child speaks in our name."""
        return cls(os.environ.pop("NOTIFY_SOCKET", None))

    def ready(self, status: str) -> None:
        """The daemon is up, or has finished reloading."""
        self.notify(READY="1", STATUS=_one_line(status))

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` must follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.notify(RELOADING="1", MONOTONIC_USEC=str(now))

    def stopping(self, status: str) -> None:
        """The daemon leaves."""
        self.notify(STOPPING="1", STATUS=_one_line(status))

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self.notify(STATUS=_one_line(status))

    def watchdog(self) -> None:
        """The daemon is alive; due every ``watchdog_interval()`` seconds."""
        self.notify(WATCHDOG="1")

    def store(self, name: str, fd: int) -> None:
        """Have the manager keep a copy of an fd, whatever happens at its other end, until ``unstore``."""
        self.notify(fd, FDSTORE="1", FDNAME=name, FDPOLL="0")

    def unstore(self, name: str) -> None:
        """Have the manager close what it keeps under this name."""
        self.notify(FDSTOREREMOVE="1", FDNAME=name)

    def notify(self, *fds: int, **fields: str) -> None:
        """Send the fields in one datagram, in this order, fds along with it. A value must not contain a line break."""
        if any("\n" in value for value in fields.values()):
            raise ValueError("a field of sd_notify is one line")
        if self._post is None:
            return
        message = "".join(f"{key}={value}\n" for key, value in fields.items())
        try:
            self._post.send(message.encode(errors="replace"), fds)
        except OSError as error:
            self._lost(error, *fields)
        else:
            self._failed = False

    def _lost(self, error: OSError, *fields: str) -> None:
        if not self._failed:
            _log.warning("systemd cannot be told %s: %s, ignoring", ", ".join(fields) or "anything", error)
        self._failed = True

    def close(self) -> None:
        """Wait no longer for a manager that is slow."""
        if self._post is not None:
            self._post.close()


def _sockaddr(address: str) -> str:
    """The socket address as the kernel writes it: an abstract one begins with a zero byte."""
    return "\0" + address[1:] if address.startswith("@") else address


def _one_line(text: str) -> str:
    return " ".join(text.split())[:STATUS_LIMIT]
