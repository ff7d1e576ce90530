"""Tells those whom ``[[alert]]`` names what happens to guests, and never lets a guest wait for that."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

import msgspec

from qsup import clock
from qsup.alerts.deliver import ways
from qsup.alerts.lane import Lane
from qsup.alerts.limit import Limit
from qsup.alerts.message import Message, line
from qsup.alerts.rules import Happening, Happenings, Rule
from qsup.alerts.way import DeliveryFailed, Way
from qsup.errors import UsageError
from qsup.events import Event, Kind
from qsup.spec.problem import nearest, shown
from qsup.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.bus import Bus
    from qsup.spec.model import DaemonConfig
    from qsup.spec.tables.alert import Alert

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Deliveries under way at one time, over all alerts."""
BREATH: Final = 1.0
"""Seconds that an end waits for the phase that follows from it: a disk may have to write that down first."""
DRAIN: Final = 5.0
"""Seconds that messages have on their way when the daemon leaves."""


class Delivery(msgspec.Struct, frozen=True):
    """What became of a test on one way; ``message`` is a sentence."""

    way: str
    to: str
    done: bool
    message: str


class Alerts:
    """The alerts of one daemon. ``hear`` is for the bus; ``apply`` says which alerts there are from then on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._happenings = Happenings()
        self._limit = Limit()
        self._rules: list[Rule] = []
        self._ways: dict[str, list[Way]] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._threads = Threads(AT_ONCE, "alert")
        self._flush_due = False
        self._late: asyncio.TimerHandle | None = None

    def apply(self, daemon: DaemonConfig) -> None:
        """Follow these settings. What waits already goes where it was meant to go; limits go on counting."""
        self._flush_all()
        sendmail = None if daemon.sendmail is None else str(daemon.sendmail)
        self._rules = [Rule(alert) for alert in daemon.alert]
        self._ways = {alert.name: list(ways(alert, sendmail, self._threads)) for alert in daemon.alert}
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or key[0] in self._ways}

    def hear(self, event: Event) -> None:
        """Take note of an event, and return at once."""
        self._consider(self._happenings.of(event))
        if self._happenings.pending and not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Consider what was announced in one breath, a cause together with the phase that goes with it."""
        self._flush_due = False
        self._consider(self._happenings.rest(ends=False))
        if self._happenings.pending and self._late is None:
            self._late = asyncio.get_running_loop().call_later(BREATH, self._flush_all)

    def _flush_all(self) -> None:
        """Consider what has waited for more in vain as well."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._consider(self._happenings.rest())

    def _consider(self, happenings: Iterable[Happening]) -> None:
        try:
            for happened in happenings:
                for rule in self._rules:
                    if rule.wants(happened):
                        self._cause(rule.alert, happened)
        except Exception:
            # Whoever announces something to the bus is busy with a guest, and shall not notice.
            log.exception("a bug in qsup: an alert could not be considered")

    def _cause(self, alert: Alert, happened: Happening) -> None:
        """Send the alert, unless that was done too often already."""
        window = float(alert.window)
        left_out = self._limit.admit(alert.name, happened.guest, alert.limit, window, clock.now())
        if left_out is not None:
            at, host = clock.iso(happened.at), os.uname().nodename
            self._send(Message.of(happened, alert.name, at=at, host=host, suppressed=left_out))

    def _send(self, message: Message) -> None:
        for way in self._ways[message.alert]:
            key = (message.alert, way.kind)
            if key not in self._lanes:
                self._lanes[key] = Lane(self._places, self._complain)
            self._lanes[key].put(way, message)

    def _complain(self, message: Message, way: Way, reason: str) -> None:
        self._bus.publish(
            Kind.ALERT_FAILED,
            name=message.guest,
            alert=message.alert,
            way=way.kind,
            to=way.to,
            message=reason,
        )

    async def test(self, name: str, guest: str, phase: str | None) -> list[Delivery]:
        """Send a message through an alert, on each of its ways, now and once. Raises UsageError if there is none."""
        rule = next((rule for rule in self._rules if rule.alert.name == name), None)
        if rule is None:
            raise UsageError(self._unknown(name))
        alert = rule.alert
        message = Message(
            alert=name,
            guest=line(guest),
            cause=next(iter(alert.causes), None),
            phase=phase or next(iter(alert.phases), None),
            detail="This is a test: nothing has happened.",
            decision=None,
            bundle=None,
            at=clock.iso(clock.wall()),
            host=line(os.uname().nodename),
            suppressed=0,
            test=True,
        )
        return list(await asyncio.gather(*(_tried(way, message) for way in self._ways[name])))

    def _unknown(self, name: str) -> str:
        names = [rule.alert.name for rule in self._rules]
        known = f"; there are: {', '.join(names)}" if names else "; qsup.toml declares none"
        return f"there is no alert {shown(name)}{known}{nearest(name, names)}"

    async def close(self) -> None:
        """Give what is on its way a last moment, and end."""
        self._flush_all()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN)
        left = sum(lane.waiting for lane in self._lanes.values())
        if left:
            log.warning("messages of alerts that were not delivered before the end: %d", left)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tried(way: Way, message: Message) -> Delivery:
    try:
        await way.send(message)
    except DeliveryFailed as error:
        return Delivery(way.kind, way.to, done=False, message=str(error))
    return Delivery(way.kind, way.to, done=True, message="delivered")
