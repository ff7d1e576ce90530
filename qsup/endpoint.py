"""Unix sockets: at a path that others know, or in a directory of ours, whatever the length of its path.

A Unix address holds 107 bytes. Of ours the directory is opened instead, and the address goes through its fd:
``/proc/self/fd/N/qmp.sock``. That also means that nobody can swap the directory between check and use.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

from qsup.errors import QmpLost, QsupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_PATH: Final = 107
"""What ``sun_path`` of unix(7) holds, without the byte that ends it."""
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


def bind(path: str) -> socket.socket:
    """A Unix socket bound to the path, for its owner only from the first moment; a socket left there is removed."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise QsupError(
            f"{path} is too long for a socket ({LONGEST_PATH} bytes at most); choose another directory for it"
        )
    try:
        _remove_socket(path)
        with contextlib.ExitStack() as on_failure:
            listener = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            # Linux gives the path the mode that the socket has when it is bound: there is no moment of a wider one.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(path)
            on_failure.pop_all()
    except OSError as error:
        raise QsupError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _remove_socket(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise QsupError(f"cannot listen on {path}: something lies there that is no socket")
        os.unlink(path)
