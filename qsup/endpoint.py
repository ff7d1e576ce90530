"""Unix sockets in a directory, whatever the length of its path.

A Unix address holds 107 bytes. The directory is opened instead, and the address goes through its fd:
``/proc/self/fd/N/qmp.sock``. That also means that nobody can swap the directory between check and use.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from qsup.errors import QmpLost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKLOG: Final = 4
"""Clients that may wait; QEMU serves one at a time, and the supervisor is the only one."""
PATIENCE: Final = 2.0
"""Seconds for a full backlog to clear."""
RETRY: Final = 0.02
"""Seconds between two looks at a full backlog, which no event announces the end of."""


@contextlib.contextmanager
def _address(directory: Path, file: str) -> Iterator[str]:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{file}"
    finally:
        os.close(fd)


def _unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def listen(directory: Path, file: str) -> socket.socket:
    """A listening, non-blocking socket that only our own user can connect to. Raises OSError naming the file."""
    listener = _unix_socket()
    try:
        with _address(directory, file) as address:
            listener.bind(address)
            # Nobody could connect in between: until listen() is called, connecting is refused.
            os.chmod(address, 0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, str(directory / file)) from error
    return listener


async def connect(directory: Path, file: str) -> socket.socket:
    """A connected, non-blocking socket. Raises QmpLost if nobody listens, or nobody accepts for too long.

    ``connect`` on a Unix socket is instant or fails: with EAGAIN when the backlog is full, which asyncio would take
    for success.
    """
    client = _unix_socket()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                if _try(client, directory, file):
                    return client
                await asyncio.sleep(RETRY)
    except TimeoutError:
        client.close()
        raise QmpLost(f"{directory / file}: too many clients wait for an answer already") from None
    except OSError as error:
        client.close()
        raise QmpLost(f"{directory / file}: nobody listens ({error.strerror})") from error
    except BaseException:
        client.close()
        raise


def _try(client: socket.socket, directory: Path, file: str) -> bool:
    with contextlib.suppress(BlockingIOError), _address(directory, file) as address:
        client.connect(address)
        return True
    return False
