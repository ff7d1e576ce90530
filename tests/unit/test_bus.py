"""Events: one publisher, many listeners, none of whom slows the others down."""

from __future__ import annotations

import pytest

from qsup.bus import BACKLOG, RECENT, Bus, Overrun
from qsup.events import Event, Kind


async def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = Bus()
    with bus.subscribe() as one, bus.subscribe() as two:
        for number in range(3):
            bus.publish(Kind.NOTICE, name="web1", message=str(number))
        for subscription in (one, two):
            events = aiter(subscription)
            assert [(await anext(events)).seq for _ in range(3)] == [1, 2, 3]
    bus.publish(Kind.NOTICE, name="web1", message="nobody hears this")
    assert bus.subscribers == set()


async def test_a_subscriber_that_does_not_read_is_cut_off_and_the_others_are_not() -> None:
    bus = Bus()
    heard: list[Event] = []
    bus.hooks.append(heard.append)
    with bus.subscribe() as lazy:
        for _ in range(BACKLOG + 500):
            bus.publish(Kind.NOTICE, name="web1", message="x")
        assert len(heard) == BACKLOG + 500, "the daemon's own listeners miss nothing"
        with pytest.raises(Overrun):
            _ = [event async for event in lazy]
    for _ in range(RECENT):
        bus.publish(Kind.NOTICE, name="web1", message="x")
    assert len(bus.recent) == RECENT


def test_an_event_looks_as_a_qmp_client_expects_it() -> None:
    event = Event(1, 1700000000.25, Kind.PHASE, {"name": "web1"})
    assert event.wire() == {
        "event": "GUEST_PHASE",
        "data": {"name": "web1"},
        "timestamp": {"seconds": 1700000000, "microseconds": 250000},
    }
