"""Whether a guest takes a connection."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from qsup.checks import usernet
from qsup.checks.reach import connection, within
from qsup.checks.verdict import Failed, Passed, Unable
from qsup.errors import QmpError
from qsup.spec.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qsup.checks.verdict import Verdict

    Monitor = Callable[[str], Awaitable[str]]
    """QEMU's human monitor: a command in, what it prints out. Raises QmpError."""

SOON: Final = 0.02
"""Seconds until QEMU is asked once more what has become of a connection; each pause is twice as long,"""
SELDOM: Final = 0.5
"""up to this."""


async def connect(address: str, deadline: float, *, monitor: Monitor | None = None) -> Verdict:
    """Connect to an address such as ``127.0.0.1:8080`` and hang up; ``deadline`` is in seconds.

    Where a part of the guest's network takes every connection for it, that alone says nothing. With ``monitor``, for
    guests with a user network, QEMU is asked whether the guest has taken a connection that QEMU forwards. passt can
    be asked nothing: it hangs up 10 s after a guest has refused.
    """
    return await within(deadline, address, _connect(address, monitor))


async def _connect(address: str, monitor: Monitor | None) -> Verdict:
    host, port = Endpoint.of(address)
    try:
        forwarded = monitor is not None and usernet.guest_port(await monitor(usernet.COMMAND), int(port))
        async with connection(host, int(port)) as sock:
            if monitor is not None and forwarded:
                return await _inside(sock, address, monitor)
    except QmpError as error:
        return Unable(f"QEMU does not tell of its network: {error}")
    return Passed(f"{address} takes a connection")


async def _inside(sock: socket.socket, address: str, monitor: Monitor) -> Verdict:
    """Follow a connection until the guest has taken or refused it."""
    # QEMU takes it between two commands at the latest: only the second answer is sure to tell of this one.
    await monitor(usernet.COMMAND)
    pause = SOON
    while True:
        state = usernet.newest(await monitor(usernet.COMMAND), int(Endpoint.of(address).port))
        if _closed(sock):
            return Failed(f"{address}: the guest refuses the connection that QEMU forwards to it")
        if state is not None and state not in usernet.PENDING:
            return Passed(f"{address} takes a connection, and the guest behind it")
        await asyncio.sleep(pause)
        pause = min(2 * pause, SELDOM)


def _closed(sock: socket.socket) -> bool:
    """Whether the other end has hung up."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
