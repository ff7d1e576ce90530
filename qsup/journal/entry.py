"""An event as an entry of the log: a line for people, and the fields by which the journal finds it again. Pure."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.cause import FAILURES
from qsup.events import Kind
from qsup.journal.messages import message_of
from qsup.phase import Phase

if TYPE_CHECKING:
    from qsup.events import Event

GUEST: Final = "QSUP_GUEST"
FIELDS: Final = {
    "QSUP_CAUSE": "cause",
    "QSUP_PHASE": "phase",
    "QSUP_BUNDLE": "bundle",
    "QSUP_ALERT": "alert",
    "QSUP_COMMAND": "command",
    "QSUP_BY": "by",
}
"""Names of fields, and of what they have out of an event's data."""
_LEVELS: Final = {Phase.GAVE_UP: logging.ERROR, Phase.UNREACHABLE: logging.WARNING}


class Entry(msgspec.Struct, frozen=True):
    """What is written to the log."""

    level: int
    """As :mod:`logging` has it."""
    line: str
    fields: dict[str, str]


def entry(event: Event) -> Entry:
    """The entry that tells of an event."""
    level, line = _line(event)
    fields = {"MESSAGE_ID": message_of(event).id, "QSUP_EVENT": event.kind.value}
    if event.guest is not None:
        fields[GUEST] = event.guest
    for field, key in FIELDS.items():
        if isinstance(value := event.data.get(key), str):
            fields[field] = value
    return Entry(level, line, fields)


def _line(event: Event) -> tuple[int, str]:
    """What is told to people."""
    data = event.data
    match event.kind:
        case Kind.PHASE:
            level = _LEVELS.get(data["phase"], logging.INFO)
            return level, f"{data['name']}: {data['phase']}: {data['reason']}"
        case Kind.ENDED:
            status = f" ({data['status']})" if data["status"] else ""
            return (
                logging.WARNING if data["cause"] in FAILURES else logging.INFO,
                f"{data['name']}: ended{status}: {data['cause']}: {data['detail']}; {data['decision']}",
            )
        case Kind.STATUS:
            return logging.INFO, f"{data['name']}: its QEMU had ended with {data['status']}: {data['cause']}"
        case Kind.TROUBLE:
            return logging.WARNING, f"{data['name']}: {data['cause']}: {data['detail']}; {data['decision']}"
        case Kind.RECOVERED:
            over = f"{data['cause']} is over after {data['after']} s"
            return logging.INFO, f"{data['name']}: {over}: {data['detail']}"
        case Kind.READY:
            return logging.INFO, f"{data['name']}: ready after {data['after']} s: {data['detail']}"
        case Kind.NOTICE:
            return logging.INFO, f"{data['name']}: {data['message']}"
        case Kind.COMMAND:
            about = f"{data['name']}: " if "name" in data else ""
            return logging.INFO, f"{about}{data['command']}, given by {data['by']}"
        case Kind.ALERT_FAILED:
            return (
                logging.WARNING,
                f"{data['name']}: alert {data['alert']} does not get through by {data['way']}"
                f" to {data['to']}: {data['message']}; this is told once until it does",
            )
        case Kind.SPEC:
            return (
                logging.INFO,
                f"{data['name']}: definition {data['change']} {'; '.join(data['paths'])}".rstrip(),
            )
        case Kind.RELOADED if data["problems"]:
            return logging.WARNING, "configuration read again, with problems:\n  " + "\n  ".join(
                data["problems"]
            )
        case Kind.RELOADED:
            return logging.INFO, "configuration read again"
