"""Whether a guest answers over HTTP."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from qsup import __version__
from qsup.checks.reach import connection, within
from qsup.checks.verdict import Failed, Passed
from qsup.qmp.session import printable
from qsup.spec.address import WebUrl

if TYPE_CHECKING:
    import socket

    from qsup.checks.verdict import Verdict

HEAD_LIMIT: Final = 32 << 10
"""Bytes that may come before the body of an answer, interim answers included; the body is not read."""
CHUNK: Final = 8 << 10
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_REASON: Final = 60
"""Bytes of a reason that are told."""


class _NoAnswerError(Exception):
    """What came is no answer; the message goes on after the URL."""


async def get(url: str, deadline: float) -> Verdict:
    """Ask for a page with GET: an answer of 2xx or 3xx passes. No redirect is followed."""
    return await within(deadline, url, _get(url))


async def _get(url: str) -> Verdict:
    where = WebUrl.of(url)
    async with connection(where.host, where.port) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, _request(where))
        try:
            status, reason = await _Answer(sock).status()
        except _NoAnswerError as error:
            return Failed(f"{url} {error}")
    told = f"{url} answers with {status} {reason}".rstrip()
    return Passed(told) if 200 <= status < 400 else Failed(told)


def _request(where: WebUrl) -> bytes:
    lines = (
        f"GET {where.path} HTTP/1.1",
        f"Host: {where.authority}",
        f"User-Agent: qsup/{__version__}",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


class _Answer:
    """The head of what a server sends."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._received = 0

    async def status(self) -> tuple[int, str]:
        """The status and its reason, after all that is only interim. Raises _NoAnswerError."""
        while True:
            found = _STATUS.match(await self._head())
            if found is None:
                raise _NoAnswerError("answers with something that is not HTTP")
            status = int(found[1])
            if status >= 200:
                return status, printable((found[2] or b"")[:_REASON].decode("utf-8", errors="replace"))

    async def _head(self) -> bytes:
        """Everything up to the next empty line."""
        searched = 0
        while (end := _END.search(self._buffer, searched)) is None:
            # The end may have come in part.
            searched = max(0, len(self._buffer) - 3)
            await self._receive()
        taken = bytes(self._buffer[: end.end()])
        del self._buffer[: end.end()]
        return taken

    async def _receive(self) -> None:
        # With data at hand sock_recv does not wait; a guest that sends without end must not hold up the loop.
        await asyncio.sleep(0)
        data = await asyncio.get_running_loop().sock_recv(self._sock, CHUNK)
        if not data:
            raise _NoAnswerError(
                "hangs up in the middle of its answer" if self._received else "hangs up without an answer"
            )
        self._received += len(data)
        if self._received > HEAD_LIMIT + CHUNK:
            raise _NoAnswerError(f"sends more than {HEAD_LIMIT} bytes before its page")
        self._buffer += data
