"""As much of HTTP/1.1 (RFC 9112) as a scrape needs: one GET a connection, one answer, and nothing else. Pure."""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/metrics"
OPEN_METRICS: Final = "application/openmetrics-text"
TEXT: Final = "text/plain; charset=utf-8"
_REQUEST: Final = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?", re.ASCII)
_REFUSED: Final = re.compile(r"0(\.0{0,3})?")
"""A weight that means: not this."""


class Refusal(Exception):
    """What is asked for cannot be had; the answer says why."""

    def __init__(self, status: HTTPStatus, why: str, more: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.more = more or {}

    def response(self) -> bytes:
        """The answer."""
        return response(self.status, TEXT, f"{self}\n".encode(), self.more)


class Request(msgspec.Struct, frozen=True):
    """A request for the metrics."""

    open_metrics: bool
    """Whether that format is wanted rather than Prometheus' own."""


def parse(head: bytes, *, local: bool) -> Request:
    """The request in a head, its last line's end included. Raises Refusal.

    ``local``: the connection came over a network, of this host's own; then the name by which it was reached has to be
    this host's own as well, or a web page might read it through a browser that runs here.
    """
    request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    line = _REQUEST.fullmatch(request)
    if line is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1")
    fields = _fields(lines)
    if local and not _is_own(fields.get("host", "")):
        raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "this host is reached as localhost or 127.0.0.1 only")
    if line[2].partition(b"?")[0] != PATH.encode():
        raise Refusal(HTTPStatus.NOT_FOUND, f"there is only {PATH}")
    if line[1] != b"GET":
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "there is only GET", {"Allow": "GET"})
    return Request(_wants_open_metrics(fields.get("accept", "")))


def response(
    status: HTTPStatus, content_type: str, body: bytes, more: Mapping[str, str] | None = None
) -> bytes:
    """A whole answer, after which the connection ends."""
    fields = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **(more or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body


def _fields(lines: list[bytes]) -> dict[str, str]:
    """The fields by their names in lower case; those that come twice as one list."""
    found: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1")
        name, value = field[1].decode("latin-1").lower(), field[2].decode("latin-1").strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _wants_open_metrics(accept: str) -> bool:
    """Whether OpenMetrics is named and not refused; Prometheus names what it likes best first."""
    for wish in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in wish.split(";"))
        if kind == OPEN_METRICS:
            weights = [value.partition("=")[2] for value in parameters if value.startswith("q=")]
            return not any(_REFUSED.fullmatch(weight) for weight in weights)
    return False


def _is_own(host: str) -> bool:
    """Whether a host, with or without a port, is this host to itself."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower().removesuffix(".") == "localhost"
