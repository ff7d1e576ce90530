"""A message to a URL: one POST of JSON, with as much of HTTP/1.1 (RFC 9112) as its answer needs."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final

from qsup import __version__
from qsup.alerts.way import DeliveryFailed
from qsup.spec.address import WebUrl
from qsup.spec.problem import clipped
from qsup.threads import TooMany

if TYPE_CHECKING:
    from qsup.alerts.message import Message
    from qsup.spec.base import HostPath
    from qsup.threads import Threads

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_TOKEN: Final = re.compile(r"[!-~]{1,4096}")
INTERIM: Final = 100
"""Lines of interim answers (1xx) that are skipped."""
REASON: Final = 2048
"""Bytes of a refusal in which its reason is looked for."""
REASON_WAIT: Final = 1.0
"""Seconds for a refusal's reason to come; the refusal itself is there by then."""
BUSY: Final = frozenset({408, 425, 429})
"""Answers that ask to come again, beside those that tell of the server's own trouble (5xx)."""


class Webhook:
    """A URL that messages are posted to."""

    kind = "webhook"

    def __init__(self, url: str, token_file: HostPath | None, deadline: float, threads: Threads) -> None:
        self._url = WebUrl.of(url)
        self._token_file = token_file
        self._deadline = deadline
        self._threads = threads
        self._tls: ssl.SSLContext | None = None

    @property
    def to(self) -> str:
        """The server: what follows in the URL is often as good as a password."""
        return self._url.origin

    async def send(self, message: Message) -> None:
        """Post the message; done when the server has answered with 2xx. Raises DeliveryFailed."""
        request = self._request(message.json())
        try:
            async with asyncio.timeout(self._deadline):
                await self._exchange(request)
        except TimeoutError:
            raise DeliveryFailed(f"no answer within {self._deadline:g} s", again=True) from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryFailed(f"its certificate is not good: {error.verify_message}") from error
        except OSError as error:
            raise DeliveryFailed(clipped(_in_words(error)), again=True) from error
        except TooMany:
            raise DeliveryFailed("too many others wait for the name service already", again=True) from None

    def _request(self, body: bytes) -> bytes:
        url = self._url
        lines = [
            f"POST {url.path} HTTP/1.1",
            f"Host: {url.origin.partition('://')[2]}",
            f"User-Agent: qsup/{__version__}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *([f"Authorization: Bearer {_token(self._token_file)}"] if self._token_file else ()),
        ]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii") + body

    async def _exchange(self, request: bytes) -> None:
        reader, writer = await self._connected()
        try:
            writer.write(request)
            await _check(reader)
        finally:
            writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first of the server's addresses that takes one."""
        url = self._url
        if url.tls and self._tls is None:
            # Reading the certificates of all authorities takes a while.
            self._tls = await self._threads.call(ssl.create_default_context)
        name = url.host if url.tls else None
        trouble: OSError = OSError("its name has no address")
        for address in await self._addresses():
            try:
                return await asyncio.open_connection(address, url.port, ssl=self._tls, server_hostname=name)
            except OSError as error:
                trouble = error
        raise trouble

    async def _addresses(self) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(self._url.host))]
        look_up = partial(socket.getaddrinfo, self._url.host, self._url.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(found[4][0]) for found in await self._threads.call(look_up)))


def _in_words(error: OSError) -> str:
    """What went wrong, without the addresses that asyncio puts into it."""
    if isinstance(error, ssl.SSLError | socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)


def _token(file: HostPath) -> str:
    try:
        # Nobody may come to write into a FIFO.
        with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            text = opened.read(5000).decode("ascii", "replace").strip()
    except OSError as error:
        raise DeliveryFailed(f"its token cannot be read: {error}") from error
    if not _TOKEN.fullmatch(text):
        raise DeliveryFailed(f"what {file} holds is no token")
    return text


async def _check(reader: asyncio.StreamReader) -> None:
    """Read the answer as far as it is needed. Raises DeliveryFailed if it is no success."""
    status, reason = await _status(reader)
    if 200 <= status < 300:
        return
    words = await _words(reader)
    said = f"; it said: {words}" if words else ""
    again = status >= 500 or status in BUSY
    raise DeliveryFailed(clipped(f"it answered {status} {reason}".rstrip() + said), again=again)


async def _status(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status of the final answer."""
    for _ in range(INTERIM):
        line = await _line(reader)
        found = _STATUS.fullmatch(line)
        if found is None:
            what = "what answers there does not speak HTTP" if line else "it hung up without an answer"
            raise DeliveryFailed(what, again=not line)
        if not found[1].startswith(b"1"):
            return int(found[1]), (found[2] or b"").decode("ascii", "replace")
        while await _line(reader) not in (b"\r\n", b"\n", b""):
            pass
    raise DeliveryFailed("it never comes to an answer")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise DeliveryFailed("it answers with a line without end") from None


async def _words(reader: asyncio.StreamReader) -> str:
    """The first line of a refusal's body, where it comes at once."""
    rest = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(REASON_WAIT):
            while len(rest) < REASON and (piece := await reader.read(REASON)):
                rest += piece
    body = rest.partition(b"\r\n\r\n")[2].decode(errors="replace")
    return next((line.strip()[:200] for line in body.splitlines() if line.strip()), "")
