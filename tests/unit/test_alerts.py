"""Alerts from the bus to real receivers: who is told, how often, and who never has to wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup import clock
from qsup.alerts import alerts as service
from qsup.alerts import lane
from qsup.alerts.alerts import Alerts
from qsup.alerts.message import Message
from qsup.bus import Bus
from qsup.cause import Cause
from qsup.errors import UsageError
from qsup.events import Kind
from qsup.spec.model import DaemonConfig
from qsup.spec.tables.alert import Alert
from qsup.units import Duration
from tests.fakes.receivers import DEADLINE, Mailbox, Receiver, receiver, script


class Bench:
    """A bus with alerts on it, and a web server."""

    def __init__(self, web: Receiver) -> None:
        self.bus = Bus()
        self.web = web
        self.alerts = Alerts(self.bus)
        self.bus.hooks.append(self.alerts.hear)

    def declare(self, *alerts: Alert, **more: Any) -> None:
        self.alerts.apply(DaemonConfig(alert=alerts, **more))

    def hook(self, name: str = "ops", **keys: Any) -> Alert:
        """An alert about killed QEMUs, for the web server."""
        made = Alert(name=name, causes=(Cause.QEMU_SIGNAL,), webhook=self.web.url, limit=1000)
        return msgspec.structs.replace(made, **keys)

    def ends(self, guest: str = "web1", cause: str = "qemu-signal") -> None:
        """A run ends, and a phase follows."""
        told = {"cause": cause, "detail": "signal 9", "status": None, "decision": "restart"}
        self.bus.publish(Kind.ENDED, name=guest, **told)
        self.bus.publish(Kind.PHASE, name=guest, phase="backoff", was="running", ready=False, reason=cause)

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [event.data for event in self.bus.recent if event.kind is Kind.ALERT_FAILED]

    async def failed(self, times: int) -> None:
        """Wait until so many failures were told."""
        with self.bus.subscribe() as events:
            async with asyncio.timeout(DEADLINE):
                while len(self.failures) < times:
                    await anext(aiter(events))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with receiver() as web:
        bench = Bench(web)
        yield bench
        await bench.alerts.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a delivery was left behind"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PAUSES", (0.0, 0.0, 0.0))


async def idle(bench: Bench) -> None:
    """Wait until nothing is on its way."""
    async with asyncio.timeout(DEADLINE):
        await asyncio.sleep(0)
        for one in bench.alerts._lanes.values():
            if one.task is not None:
                await one.task


async def test_an_alert_goes_on_all_its_ways(bench: Bench, tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    page = script(tmp_path / "page", f'echo "$QSUP_GUEST $QSUP_CAUSE $QSUP_PHASE" >{tmp_path}/paged')
    bench.declare(bench.hook(command=(page,), mail=("root",)), sendmail=str(box.program))
    bench.ends()
    message = (await bench.web.next()).json
    assert (message["guest"], message["cause"], message["phase"]) == ("web1", "qemu-signal", "backoff")
    await idle(bench)
    assert (tmp_path / "paged").read_text() == "web1 qemu-signal backoff\n"
    assert ["qemu-signal" in mail["Subject"] for mail in box.mails] == [True]
    assert bench.failures == []


async def test_an_end_without_a_phase_is_told_as_well(bench: Bench) -> None:
    bench.declare(bench.hook())
    bench.bus.publish(Kind.ENDED, name="web1", cause="qemu-signal", detail="x", decision="stay off")
    assert (await bench.web.next()).json["phase"] is None


async def test_an_end_is_told_with_its_phase_though_that_comes_a_moment_later(bench: Bench) -> None:
    bench.declare(bench.hook())
    bench.bus.publish(Kind.ENDED, name="web1", cause="qemu-signal", detail="x", decision="restart")
    for _ in range(3):
        await asyncio.sleep(0)
    bench.bus.publish(Kind.PHASE, name="web1", phase="backoff", was="running", ready=False, reason="x")
    assert (await bench.web.next()).json["phase"] == "backoff"
    await idle(bench)
    assert bench.web.requests.empty()


async def test_a_crash_loop_is_told_as_often_as_allowed_and_then_how_often_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "now", lambda: now)
    bench.declare(bench.hook(limit=2, window=Duration.parse("1 min")))
    for _ in range(10):
        bench.ends()
    bench.ends("web2")
    assert [(await bench.web.next()).json["guest"] for _ in range(3)] == ["web1", "web1", "web2"]
    # What an edit leaves as it is goes on counting.
    bench.declare(bench.hook(limit=2, window=Duration.parse("1 min")))
    bench.ends()
    await idle(bench)
    now += 60
    bench.ends()
    message = (await bench.web.next()).json
    assert message["suppressed"] == 9
    assert "9 more about web1" in message["text"]
    await idle(bench)
    assert bench.web.requests.empty()


async def test_what_may_go_better_is_tried_again_and_what_may_not_is_not(bench: Bench) -> None:
    bench.declare(bench.hook())
    bench.web.answers = [500, 0, 503, 204]
    bench.ends()
    for _ in range(4):
        await bench.web.next()
    await idle(bench)
    bench.web.answers = [404]
    bench.ends()
    await bench.failed(1)
    await bench.web.next()
    assert bench.web.requests.empty()


async def test_a_receiver_that_fails_is_complained_of_once_until_it_is_well(bench: Bench) -> None:
    bench.declare(bench.hook())
    bench.web.answers = [400] * 5
    for _ in range(5):
        bench.ends()
    await idle(bench)
    (failure,) = bench.failures
    assert failure["name"] == "web1"
    assert failure["message"] == "it answered 400 Bad Request; it said: this is why"
    assert "hush" not in str(failure)
    bench.ends()
    await idle(bench)
    bench.web.answers = [400]
    bench.ends()
    await idle(bench)
    assert len(bench.failures) == 2


async def test_a_receiver_that_hangs_delays_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DRAIN", 0.1)
    async with receiver() as hanging:
        hanging.answers = [-1] * 100
        bench.declare(bench.hook("lost", webhook=hanging.url), bench.hook("ops"))
        for _ in range(lane.WAITING + 20):
            bench.ends()
        # All of it was said in one breath, and nobody waited: it is only now that anything is sent.
        await asyncio.sleep(0)
        assert bench.web.requests.empty()
        assert [failure["message"] for failure in bench.failures if failure["alert"] == "lost"] == [
            f"{lane.WAITING} messages wait for it already"
        ]
        for _ in range(lane.WAITING):
            await bench.web.next()
        await bench.alerts.close()


async def test_at_most_so_many_deliveries_are_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DRAIN", 0.1)
    names = [f"a{number}" for number in range(service.AT_ONCE + 5)]
    bench.declare(*(bench.hook(name) for name in names))
    bench.web.answers = [-1] * len(names)
    bench.ends()
    for _ in range(service.AT_ONCE):
        await bench.web.next()
    assert sum(1 for one in bench.alerts._lanes.values() if one.waiting) == len(names)
    await bench.alerts.close()
    assert bench.web.requests.empty()


async def test_what_waits_when_an_alert_goes_still_arrives(bench: Bench) -> None:
    bench.declare(bench.hook("old"))
    bench.ends()
    bench.declare(bench.hook("new"))
    bench.ends()
    assert {(await bench.web.next()).json["alert"] for _ in range(2)} == {"old", "new"}
    await idle(bench)
    bench.declare()
    assert bench.alerts._lanes == {}
    bench.ends()


async def test_the_end_waits_for_what_is_on_its_way_but_not_for_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.declare(bench.hook())
    bench.bus.publish(Kind.ENDED, name="web1", cause="qemu-signal", detail="x", decision="")
    await bench.alerts.close()
    assert (await bench.web.next()).json["guest"] == "web1"
    monkeypatch.setattr(service, "DRAIN", 0.1)
    bench.web.answers = [-1]
    bench.ends()
    bench.ends()
    await bench.alerts.close()
    assert "not delivered before the end: 2" in caplog.text


async def test_a_bug_costs_neither_a_guest_nor_the_next_message_anything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise ZeroDivisionError

    bench.declare(bench.hook())
    with monkeypatch.context() as patched:
        patched.setattr(Message, "json", broken)
        bench.ends()
        await idle(bench)
    assert "ZeroDivisionError" in caplog.text
    assert len(bench.failures) == 1
    with monkeypatch.context() as patched:
        patched.setattr(Message, "of", broken)
        bench.ends()
        await idle(bench)
    bench.ends("web2")
    assert (await bench.web.next()).json["guest"] == "web2"


async def test_a_test_tells_how_each_way_went_and_counts_for_nothing(bench: Bench, tmp_path: Path) -> None:
    page = script(tmp_path / "page", f'echo "$QSUP_TEST $QSUP_CAUSE" >{tmp_path}/paged; exit 3')
    bench.declare(bench.hook(command=(page,), limit=1))
    for _ in range(2):
        told = await bench.alerts.test("ops", "web1", None)
        assert [(one.way, one.done) for one in told] == [("command", False), ("webhook", True)]
        assert told[0].message == f"{page}: exit 3"
        message = (await bench.web.next()).json
        assert (message["test"], message["guest"], message["cause"]) == (True, "web1", "qemu-signal")
        assert "a test of alert ops" in message["subject"]
    assert (tmp_path / "paged").read_text() == "1 qemu-signal\n"
    assert bench.failures == []
    bench.ends()
    assert (await bench.web.next()).json["test"] is False
    await idle(bench)


async def test_there_is_no_test_of_an_alert_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r'there is no alert "ops"; qsup.toml declares none$'):
        await bench.alerts.test("ops", "web1", None)
    bench.declare(bench.hook())
    with pytest.raises(UsageError, match=r'no alert "osp"; there are: ops; did you mean "ops"'):
        await bench.alerts.test("osp", "web1", None)
