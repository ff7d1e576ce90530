"""A real spawner, for as long as a test wants one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

DEADLINE = 10.0


@contextlib.contextmanager
def spawner(place: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that listens at a path; it is killed in the end, and what it has started lives on."""
    address = f"{place}.notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(DEADLINE)
        process = subprocess.Popen(
            [sys.executable, "-m", "qsup.spawn.server", "--socket", place],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert manager.recv(4096).startswith(b"READY=1\n")
            yield process
        finally:
            process.kill()
            process.wait()
            os.unlink(address)
