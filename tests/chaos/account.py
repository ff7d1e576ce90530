"""What the suite knows of each guest: what was done to it, and so what may be seen of it once it is at rest again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.fleet import Guest

View = dict[str, Any]
ALIVE = frozenset({"starting", "running", "paused", "stopping", "unreachable"})
LATE = 10.0
"""Seconds that a guest may take to come to a key."""
UNWRITTEN = 6.0
"""Seconds after which the daemon has certainly tried again to write a state."""
UNSEEN = "unknown"
"""The cause of an end that nobody was there to see."""
NO_FAILURES = frozenset({"operator", "host-shutdown", "guest-shutdown", "guest-reset"})


@dataclass(frozen=True)
class Verdict:
    """An end that may be told: its cause and, where that is certain, the status and a part of the detail."""

    cause: str
    status: str | None = None
    detail: str = ""

    def covers(self, end: View) -> bool:
        """Whether an end was told as it should be. The status of an adopted QEMU may still be on its way."""
        return (
            end["cause"] == self.cause
            and (self.status is None or end["status"] in (self.status, None))
            and self.detail in end["detail"]
        )


BY_A_DEED = (Verdict("qemu-signal"), Verdict("qemu-exit"), Verdict("guest-shutdown"))
"""How a QEMU may have ended whose daemon died between the deed and the record of who had wanted it."""


@dataclass
class Account:
    """One guest's. What is not certain is a set of all that it may be."""

    guest: Guest
    wanted: set[str] = field(default_factory=set)
    paused: set[bool] = field(default_factory=lambda: {False})
    file: str = "good"
    """Its file: ``good``, ``broken`` or ``gone``."""
    edition: int = 0
    view: View | None = None
    """As it was when it was last at rest; None while it is not known."""

    def __post_init__(self) -> None:
        self.wanted = self.wanted or {"running" if self.guest.autostart else "stopped"}
        self._late: list[tuple[float, Verdict]] = []
        self._unwritten = 0.0
        self.may: list[Verdict] = []
        """The ends that may be told."""
        self.begin()

    def begin(self) -> None:
        """A step begins."""
        now = time.monotonic()
        self._late = [(until, verdict) for until, verdict in self._late if until > now]
        self.forgetful = now < self._unwritten
        """What was written down of it is lost, or could not be written."""
        # The next daemon tells again of an end that could not be written down.
        before = self.may if self.forgetful else ()
        self.may = [*before, *(verdict for _, verdict in self._late)]
        self.must = 0
        """How many of its processes have surely ended by what was done."""
        self.deeds = 0
        """How many things were done to it."""
        self.started = False
        """An operator may have started it."""
        self._wished = False
        self._told: set[bool] = set()
        """Whether an operator wanted it to be paused: it was accepted, and is perhaps done only in the next step."""

    @property
    def pid(self) -> int | None:
        """Its process, when it was last at rest."""
        return self.view["pid"] if self.view else None

    def done(self, *may: Verdict) -> None:
        """Something was done that may end its run so."""
        self.deeds += 1
        self.may += may

    def typed(self, *may: Verdict) -> None:
        """A key was typed, to which the guest comes in its own time, perhaps only some steps later."""
        self.done(*may)
        self._late += ((time.monotonic() + LATE, verdict) for verdict in may)

    def unwritten(self) -> None:
        """Its state could not be written, and is only after a while."""
        self._unwritten = time.monotonic() + UNWRITTEN
        self.forgetful = True

    def ordered(self, verb: str, taken: bool | None) -> None:
        """An operator's verb was accepted, refused, or nobody knows."""
        self.deeds += 1
        if taken is False:
            return
        match verb:
            case "start" | "restart":
                self.started = True
                self._wish("running", taken)
            case "stop" | "kill":
                self._wish("stopped", taken)
            case "pause":
                self._told.add(True)
            case "resume" | "reset":
                self._told.add(False)
        if verb in ("stop", "kill", "restart"):
            self.may.append(Verdict("operator"))
            if taken is None:
                self.may += BY_A_DEED
            self._told.add(False)
        self.paused |= self._told

    def _wish(self, wish: str, taken: bool | None) -> None:
        """Of several at once, nobody knows which was the last."""
        if taken and not self._wished:
            self.wanted.clear()
        self._wished |= bool(taken)
        self.wanted.add(wish)

    def rest(self, view: View | None) -> None:
        """It is at rest again: what was uncertain can be seen now."""
        self.view = view
        if view is None:
            return
        self.wanted = {view["wanted"]}
        # Whether the vCPUs of one that does not answer stand still cannot be seen.
        if view["phase"] != "unreachable":
            self.paused = {view["phase"] == "paused"} | self._told

    @property
    def causes(self) -> set[str]:
        """Those that may be told."""
        return {one.cause for one in self.may}

    # What follows from its file

    def stays_off(self, cause: str) -> bool:
        """Whether its file wants it left off after an end by this cause."""
        if cause in self.guest.rules:
            return self.guest.rules[cause] == "stop"
        if cause in ("operator", "host-shutdown") or self.guest.policy == "never":
            return True
        return self.guest.policy == "on-failure" and cause in NO_FAILURES

    def may_pause(self) -> bool:
        """Whether its vCPUs may stand still now."""
        return True in self.paused


def is_at_rest(view: View) -> bool:
    """Whether nothing is to be expected any more, unless something happens."""
    if view["waiting-for"] or view["phase"] in ("starting", "stopping", "backoff", "unreachable"):
        return False
    return view["phase"] != "running" or bool(view["ready"])
