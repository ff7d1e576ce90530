"""A service manager's file descriptor store, as far as a daemon sees it: it hands fds to the next one."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from pathlib import Path
from typing import Final

FDS: Final = 16
"""More fds than any message of the daemon carries."""
PASS: Final = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
moved = [os.dup2(fd, 500 + place) for place, fd in enumerate(fds)]
for place, fd in enumerate(moved):
    os.dup2(fd, 3 + place)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Gives fds the numbers that sd_listen_fds(3) wants, then becomes the daemon."""


class Manager:
    """Give ``environment`` to a daemon; what it stores is in ``kept`` after ``listen``."""

    def __init__(self, path: Path) -> None:
        self.kept: list[tuple[str, int]] = []
        self.said: list[str] = []
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def close(self) -> None:
        self.listen()
        for _, fd in self.kept:
            os.close(fd)
        self._socket.close()

    def listen(self) -> None:
        """Take all messages that have arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                message, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(FDS * 4))
                fds = array.array("i")
                for _, _, data in ancillary:
                    fds.frombytes(data)
                fields = dict(line.split("=", 1) for line in message.decode().splitlines())
                self._take(fields, list(fds))

    def _take(self, fields: dict[str, str], fds: list[int]) -> None:
        self.said.extend(f"{key}={value}" for key, value in fields.items())
        if "FDSTORE" in fields:
            assert fields["FDPOLL"] == "0", "systemd would let go of an fd as soon as its other end hangs up"
            self.kept.extend((fields["FDNAME"], fd) for fd in fds)
        elif "FDSTOREREMOVE" in fields:
            for entry in [entry for entry in self.kept if entry[0] == fields["FDNAME"]]:
                os.close(entry[1])
                self.kept.remove(entry)

    @property
    def names(self) -> list[str]:
        self.listen()
        return sorted(name for name, _ in self.kept)

    @property
    def environment(self) -> dict[str, str]:
        self.listen()
        return {
            "NOTIFY_SOCKET": str(self._path),
            "LISTEN_FDS": str(len(self.kept)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in self.kept),
        }

    def command(self, python: str) -> tuple[str, ...]:
        """What to put before the daemon's own command line; its first word is a path."""
        return python, "-c", PASS, ",".join(str(fd) for _, fd in self.kept)

    @property
    def fds(self) -> tuple[int, ...]:
        return tuple(fd for _, fd in self.kept)
