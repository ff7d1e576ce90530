"""From events to what happened to guests, and which alerts that causes. Pure."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

import msgspec

from qsup.events import Event, Kind
from qsup.phase import ASKABLE, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.tables.alert import Alert


class Happening(msgspec.Struct, frozen=True):
    """Something that happened to a guest; ``at`` is wall time in seconds."""

    guest: str
    at: float
    cause: str | None
    phase: str | None
    """The guest's phase then, as far as it is known."""
    entered: bool
    """Whether it has just come to this phase."""
    detail: str
    decision: str | None = None
    bundle: str | None = None


class Rule:
    """An alert, made ready to be asked for every event."""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert
        # fnmatch itself remembers a few hundred globs only, and would read more of them anew each time.
        self._guests = re.compile("|".join(map(translate, alert.guests)))
        self._causes = frozenset(alert.causes)
        self._phases = frozenset(alert.phases)

    def wants(self, happened: Happening) -> bool:
        """Whether this causes the alert."""
        if happened.cause not in self._causes and not (happened.entered and happened.phase in self._phases):
            return False
        return self._guests.match(happened.guest) is not None


class _Known(msgspec.Struct):
    """What has been heard of a guest: its phase, and the cause of its last end."""

    phase: str | None = None
    cause: str | None = None


class _Held(msgspec.Struct, frozen=True):
    """What is held back, and whether it has its cause and its phase already."""

    happened: Happening
    whole: bool = False
    is_end: bool = False
    """Whether it is an end, which a phase follows as soon as that is written down."""


class Happenings:
    """Makes of events what happened: a cause and the phase that goes with it are told as one.

    It remembers next to nothing of each guest that there is, and of one that is forgotten nothing.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._held: dict[str, _Held] = {}

    @property
    def pending(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def of(self, event: Event) -> Iterator[Happening]:
        """What is complete by this event. What it tells itself is held back until ``rest``, or until more happens."""
        guest, cause = event.guest, event.data.get("cause")
        if guest is None:
            return
        if event.kind is Kind.SPEC:
            if event.data.get("change") == "forgotten":
                self._known.pop(guest, None)
            return
        known = self._known.setdefault(guest, _Known())
        if event.kind is Kind.PHASE:
            yield from self._came_to(known, guest, event)
        elif cause and _is_news(known, event.kind, cause):
            yield from self._met(known, guest, event)

    def rest(self, *, ends: bool = True) -> Iterator[Happening]:
        """All that was held back: to be called when those who announce things pause for breath.

        Without ``ends`` an end goes on waiting for the phase that follows from it.
        """
        held, self._held = self._held, {}
        for guest, one in held.items():
            if one.is_end and not one.whole and not ends:
                self._held[guest] = one
            else:
                yield one.happened

    def _came_to(self, known: _Known, guest: str, event: Event) -> Iterator[Happening]:
        """A phase, which may be one that the guest had before and now has for another reason."""
        phase, was = event.data.get("phase"), event.data.get("was")
        # Of one that ran already all that the last daemon had written down may be that it was about to.
        found_running = known.phase is None and was in ASKABLE and phase == Phase.RUNNING
        known.phase = phase
        held = self._held.get(guest)
        if held is not None and held.happened.cause and not held.whole:
            happened = msgspec.structs.replace(held.happened, phase=phase, entered=phase != was)
            self._held[guest] = _Held(happened, whole=True)
        elif phase != was and not found_running:
            yield from self._hold(guest, _Held(_happening(known, event, entered=True)))

    def _met(self, known: _Known, guest: str, event: Event) -> Iterator[Happening]:
        """A cause."""
        held = self._held.get(guest)
        if held is not None and not held.happened.cause:
            self._held[guest] = _Held(_happening(known, event, entered=True), whole=True)
        else:
            new = _Held(_happening(known, event, entered=False), is_end=event.kind is Kind.ENDED)
            yield from self._hold(guest, new)

    def _hold(self, guest: str, new: _Held) -> Iterator[Happening]:
        before = self._held.get(guest)
        self._held[guest] = new
        if before is not None:
            yield before.happened


def _is_news(known: _Known, kind: Kind, cause: str) -> bool:
    """Whether a cause has not been told of, and is not over."""
    last = known.cause
    if kind in (Kind.ENDED, Kind.STATUS):
        known.cause = cause
    # An end was told as it came; with its status, which may come later, it may be known better.
    return kind is not Kind.RECOVERED and (kind is not Kind.STATUS or cause != last)


def _happening(known: _Known, event: Event, *, entered: bool) -> Happening:
    data = event.data
    status = f"QEMU had ended with {data['status']}" if data.get("status") else ""
    detail = data.get("detail") or data.get("reason") or data.get("message") or status
    return Happening(
        guest=str(data["name"]),
        at=event.at,
        cause=data.get("cause"),
        phase=known.phase,
        entered=entered,
        detail=str(detail),
        decision=data.get("decision"),
        bundle=data.get("bundle"),
    )
