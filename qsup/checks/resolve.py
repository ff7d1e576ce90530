"""Names into addresses, without a way for a name server that is silent to hold up anything else.

``getaddrinfo`` blocks, and cannot be cancelled. In asyncio's own pool of threads a few checks would fill all places
there are, and the records of all guests wait for one. So each look-up has a thread of its own, which nobody waits
for in the end, and there are only so many.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any, Final

LOOKUPS: Final = 4
"""Look-ups that may be under way."""

Found = list[tuple[socket.AddressFamily, Any]]
"""Families and socket addresses, in the order in which they are to be tried."""

_places = threading.BoundedSemaphore(LOOKUPS)


async def resolve(host: str, port: int) -> Found:
    """The addresses of a host. Raises OSError: ``socket.gaierror`` for a name without one."""
    with contextlib.suppress(socket.gaierror):
        return _ask(host, port, socket.AI_NUMERICHOST)
    if not _places.acquire(blocking=False):
        raise socket.gaierror(socket.EAI_AGAIN, f"{LOOKUPS} other names are being looked up already")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Found] = loop.create_future()
    try:
        threading.Thread(target=_look_up, args=(host, port, loop, answer), daemon=True).start()
    except RuntimeError:
        _places.release()
        raise socket.gaierror(socket.EAI_AGAIN, "there is no thread to look the name up in") from None
    return await answer


def _look_up(host: str, port: int, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Found]) -> None:
    found: Found | OSError
    try:
        found = _ask(host, port, 0)
    except OSError as error:
        found = error
    except UnicodeError:
        found = socket.gaierror(socket.EAI_NONAME, "that is no name of a host")
    finally:
        _places.release()
    # The loop may have been closed meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_deliver, answer, found)


def _deliver(answer: asyncio.Future[Found], found: Found | OSError) -> None:
    if answer.done():
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _ask(host: str, port: int, flags: int) -> Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
