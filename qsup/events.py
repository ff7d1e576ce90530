"""What qsup announces: one immutable event for everything that an operator may want to know.

The names follow QMP's habit, and so does the shape on the wire (``docs/interop/qmp-spec`` of QEMU)::

    {"event": "GUEST_PHASE", "data": {"name": "web1", …}, "timestamp": {"seconds": …, "microseconds": …}}
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """The names of all events."""

    PHASE = "GUEST_PHASE"
    """``name, phase, was, ready, wanted, reason``: a guest came to another phase, or there for another reason."""
    READY = "GUEST_READY"
    """``name, after, detail``: a guest has become ready, ``after`` so many seconds."""
    ENDED = "GUEST_ENDED"
    """``name, cause, detail, evidence, status, ran, decision, restart, stopped-by, bundle``: a guest's run ended, what
    that was concluded from, what follows from it, and whether that is another run."""
    TROUBLE = "GUEST_TROUBLE"
    """``name, cause, detail, evidence, decision, bundle``: something is wrong with a guest that lives."""
    RECOVERED = "GUEST_RECOVERED"
    """``name, cause, detail, after``: that is over, after so many seconds, and without a new process."""
    STATUS = "GUEST_EXIT_STATUS"
    """``name, status``: the exit status of a run that ended earlier became known."""
    NOTICE = "GUEST_NOTICE"
    """``name, message``: something about a guest that changes no phase."""
    SPEC = "GUEST_SPEC"
    """``name, change, paths``: ``added``, ``changed`` or ``removed`` a file; ``forgotten`` a guest without one."""
    COMMAND = "COMMAND"
    """``name, command, by, uid, pid``: somebody has given a command that does something, ``by`` says who in words, and
    may do so; what comes of it is told by other events. Without ``name`` it is about no guest in particular."""
    ALERT_FAILED = "ALERT_FAILED"
    """``name, alert, way, to, message``: a message about a guest did not reach somebody; told once until one does."""
    RELOADED = "CONFIG_RELOADED"
    """``added, changed, removed, problems``: the configuration was read again."""


class Event(msgspec.Struct, frozen=True):
    """One event: ``at`` is wall time in seconds, ``data`` its JSON object, ``seq`` counts since the daemon started."""

    seq: int
    at: float
    kind: Kind
    data: dict[str, Any]

    @property
    def guest(self) -> str | None:
        """The name of the guest that it is about, if it is about one."""
        name = self.data.get("name")
        return name if isinstance(name, str) else None

    def wire(self) -> dict[str, Any]:
        """The event as a QMP client expects it."""
        return wire(self.kind.value, self.data, self.at)


def wire(kind: str, data: Mapping[str, Any], at: float) -> dict[str, Any]:
    """An event of any kind as a QMP client expects it."""
    seconds = int(at)
    micro = int((at - seconds) * 1_000_000)
    return {"event": kind, "data": data, "timestamp": {"seconds": seconds, "microseconds": micro}}
