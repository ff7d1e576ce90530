"""A TCP connection to where a guest is to answer, and what it says of the guest when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsup.checks.resolve import resolve
from qsup.checks.verdict import Failed, Unable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from qsup.checks.verdict import Verdict

ANSWERS: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
    }
)
"""What the other side does, or does not do. All else is this host's own trouble: no descriptors left, no memory, no
address or route for the connection to begin at, a name that cannot be looked up, a firewall that forbids it."""


async def within(deadline: float, where: str, attempt: Awaitable[Verdict]) -> Verdict:
    """The verdict of an attempt, of an error in it, or of its running out of time. ``where`` begins a sentence."""
    try:
        async with asyncio.timeout(deadline):
            return await attempt
    except TimeoutError:
        return Failed(f"{where} does not answer within {deadline:g} s")
    except OSError as error:
        said = f"{where}: {_words(error)}"
        return Failed(said) if says_something(error) else Unable(said)


def _words(error: OSError) -> str:
    """What the system calls it; asyncio says which call has failed instead."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def says_something(error: OSError) -> bool:
    """Whether an error is the guest's doing."""
    return not isinstance(error, socket.gaierror) and error.errno in ANSWERS


@contextlib.asynccontextmanager
async def connection(host: str, port: int) -> AsyncIterator[socket.socket]:
    """A connected, non-blocking socket, which is closed at the end. Raises OSError.

    The addresses of a name are tried in turn. If none takes the connection, the error is one that says something of
    the guest, if there is one.
    """
    told: OSError | None = None
    for family, address in await resolve(host, port):
        try:
            sock = await _connected(family, address)
        except OSError as error:
            if told is None or says_something(error):
                told = error
            continue
        with contextlib.closing(sock):
            yield sock
        return
    raise told or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


async def _connected(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
        if sock.getsockname() == sock.getpeername():
            # Where nobody listens on this host, the kernel may have chosen that very port for our own end.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    except BaseException:
        sock.close()
        raise
    return sock
