"""The wire format of the control socket: QMP's own, as QEMU's ``docs/interop/qmp-spec.rst`` describes it.

Pure: bytes in, :class:`Request` out; values in, lines of bytes out. What is wrong with a request is said in the
words that QEMU uses for it, so that a client which knows QEMU's errors knows these.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import __version__
from qsup.errors import QmpRefused, QsupError

if TYPE_CHECKING:
    from qsup.events import Event

MAX_ID: Final = 4096
"""The longest ``id`` that is echoed, as JSON, in bytes."""
_MEMBERS: Final = frozenset({"execute", "arguments", "id"})


class CommandNotFound(QsupError):
    """No such command, or not at this point of the negotiation; QMP gives it a class of its own."""

    wire_class = "CommandNotFound"


class RequestError(QsupError):
    """The message is not a request. ``id`` is its id, as far as it has one, so that the answer can carry it."""

    def __init__(self, message: str, id: Any = msgspec.UNSET) -> None:  # noqa: A002 - QMP's word
        super().__init__(message)
        self.id = id


class Request(msgspec.Struct, frozen=True):
    """One command of a client; ``id`` is UNSET or any JSON value, to be echoed."""

    execute: str
    arguments: dict[str, Any]
    id: Any = msgspec.UNSET


def decode(message: bytes) -> Request:
    """Read one message; raise RequestError if it is not a request."""
    try:
        members = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"JSON parse error, {error}") from error
    if not isinstance(members, dict):
        raise RequestError("QMP input must be a JSON object")
    id_ = members.get("id", msgspec.UNSET)
    if id_ is not msgspec.UNSET and len(msgspec.json.encode(id_)) > MAX_ID:
        raise RequestError(f"QMP input member 'id' is longer than {MAX_ID} bytes")
    for member in members:
        if member not in _MEMBERS:
            raise RequestError(f"QMP input member '{member[:80]}' is unexpected", id_)
    if "execute" not in members:
        raise RequestError("QMP input lacks member 'execute'", id_)
    if not isinstance(members["execute"], str):
        raise RequestError("QMP input member 'execute' must be a string", id_)
    arguments = members.get("arguments", {})
    if not isinstance(arguments, dict):
        raise RequestError("QMP input member 'arguments' must be an object", id_)
    return Request(members["execute"], arguments, id_)


def check_mode(request: Request, *, negotiated: bool) -> None:
    """Raise CommandNotFound for a command before ``qmp_capabilities``, and for a second one of those."""
    if request.execute == "qmp_capabilities":
        if negotiated:
            raise CommandNotFound("Capabilities negotiation is already complete, command ignored")
        _check_capabilities(request.arguments)
    elif not negotiated:
        raise CommandNotFound("Expecting capabilities negotiation with 'qmp_capabilities'")


def _check_capabilities(arguments: dict[str, Any]) -> None:
    for name in arguments:
        if name != "enable":
            raise QsupError(f"Parameter '{name[:80]}' is unexpected")
    enable = arguments.get("enable", [])
    if not isinstance(enable, list):
        raise QsupError("Invalid parameter type for 'enable', expected: array")
    if enable:
        raise QsupError("This server offers no capabilities; leave 'enable' away")


def greeting() -> bytes:
    """The first line that a client gets."""
    major, minor, micro = (int(part) for part in re.findall("[0-9]+", __version__)[:3])
    version = {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": f"qsup {__version__}"}
    return _line({"QMP": {"version": version, "capabilities": []}})


def encode_return(value: Any, id_: Any = msgspec.UNSET) -> bytes:
    """The line that answers a command which was executed."""
    return _line({"return": value} if id_ is msgspec.UNSET else {"return": value, "id": id_})


def encode_error(error: QsupError, id_: Any = msgspec.UNSET) -> bytes:
    """The line that answers a command which failed or was refused."""
    wire_class = error.qmp_class if isinstance(error, QmpRefused) else error.wire_class
    body = {"error": {"class": wire_class, "desc": str(error)}}
    return _line(body if id_ is msgspec.UNSET else {**body, "id": id_})


def event_object(event: Event) -> dict[str, Any]:
    """An event as it goes over the wire: as QMP's, and with its number, by which two streams can be joined."""
    return {**event.wire(), "seq": event.seq}


def encode_event(event: Event) -> bytes:
    """The line that announces an event."""
    return _line(event_object(event))


def _line(value: dict[str, Any]) -> bytes:
    # JSON on the wire has no raw newlines, so a client may read lines; QEMU ends them with CR LF.
    return msgspec.json.encode(value) + b"\r\n"
