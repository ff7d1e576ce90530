"""Names into addresses, without a way for a name server that is silent to hold up anything else.

``getaddrinfo`` blocks, and cannot be cancelled. In asyncio's own pool of threads a few checks would fill all places
there are, and the records of all guests wait for one. So each look-up has a thread of its own, which nobody waits
for in the end, and there are only so many.
"""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from typing import Any, Final

from qsup.threads import Threads, TooMany

LOOKUPS: Final = 4
"""Look-ups that may be under way."""

Found = list[tuple[socket.AddressFamily, Any]]
"""Families and socket addresses, in the order in which they are to be tried."""

_threads = Threads(LOOKUPS, "look-up")


async def resolve(host: str, port: int) -> Found:
    """The addresses of a host. Raises OSError: ``socket.gaierror`` for a name without one."""
    with contextlib.suppress(socket.gaierror):
        return _ask(host, port, socket.AI_NUMERICHOST)
    try:
        return await _threads.call(partial(_ask, host, port, 0))
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "that is no name of a host") from None
    except TooMany:
        raise socket.gaierror(
            socket.EAI_AGAIN, f"{LOOKUPS} other names are being looked up already"
        ) from None


def _ask(host: str, port: int, flags: int) -> Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
