"""Addresses of NBD exports, in the form that the NBD project has agreed on (``doc/uri.md``). Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from qsup.spec.base import form

PORT: Final = 10809
"""NBD's own."""
_SHAPE: Final = (
    r"^nbd(://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-~]*)?"
    r"|\+unix://(/[!->@-~]*)?\?socket=/[!-%'-~]*)$(?!\n)"
)
NBD: Final = form(_SHAPE, 'write "nbd://HOST:PORT/EXPORT" or "nbd+unix:///EXPORT?socket=/PATH"')
_PARTS: Final = re.compile(_SHAPE)


class Export(NamedTuple):
    """An export and its server: ``host`` and ``port``, or ``socket``; ``name`` is empty for the server's default."""

    host: str
    port: int
    socket: str
    name: str


def parse(address: str) -> Export:
    """The parts of an address; raise ValueError, with a sentence, for what cannot be one."""
    if not _PARTS.search(address):
        raise ValueError(f'"{address}" is no address of an NBD export')
    rest = address.partition("://")[2]
    if address.startswith("nbd+unix:"):
        name, _, socket = rest.partition("?socket=")
        return Export("", 0, _decoded(socket), _decoded(name[1:]))
    server, _, name = rest.partition("/")
    host, _, port = server.rpartition(":") if re.search(r":[0-9]+$", server) else (server, "", "")
    if port and not 1 <= int(port) <= 65535:
        raise ValueError(f'"{port}" is no port; ports go from 1 to 65535')
    return Export(host.strip("[]"), int(port or PORT), "", _decoded(name))


def _decoded(text: str) -> str:
    """The text behind the percent signs."""
    decoded = unquote(text, errors="surrogateescape")
    if any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in decoded):
        raise ValueError(f'"{text}" holds control characters or is no UTF-8')
    return decoded
