"""The QMP session against a server that springs every trap known of qemu.qmp and of hostile peers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from qemu.qmp import QMPClient

from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.client import LINE_LIMIT
from qsup.qmp.session import QmpEvent, QmpSession, checked_event, printable
from tests.fakes.fake_qmp import Peer, Script, serving


class Ears:
    """Hears what a session tells."""

    def __init__(self) -> None:
        self.events: list[QmpEvent] = []
        self.lost: list[str] = []
        self.changed = asyncio.Event()

    def on_event(self, event: QmpEvent) -> None:
        self.events.append(event)
        self.changed.set()

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.changed.set()

    async def until_lost(self) -> str:
        while not self.lost:
            self.changed.clear()
            await self.changed.wait()
        return self.lost[0]


@contextlib.asynccontextmanager
async def session(script: Script, deadline: float = 5.0) -> AsyncIterator[tuple[QmpSession, Ears]]:
    """A session with the script's server; afterwards nothing of it may be left."""
    before = asyncio.all_tasks()
    ears = Ears()
    async with serving(script) as sock:
        made = await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost, deadline=deadline)
        try:
            yield made, ears
        finally:
            await made.close()
    assert len(ears.lost) <= 1
    assert asyncio.all_tasks() == before, "a task was left behind"
    gc.collect()


def ended_by_itself(qmp: QmpSession) -> bool:
    """Whether the session's task came to its end before the deadline of close() was over."""
    return qmp._watcher is not None and qmp._watcher.done() and not qmp._watcher.cancelled()


async def test_a_command_is_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        command = await peer.answer({"status": "running"})
        assert command["execute"] == "query-status"
        await peer.gone()

    async with session(script) as (qmp, ears):
        assert await qmp.execute("query-status") == {"status": "running"}
    assert ears.lost == [], "our own close is no loss"


async def test_an_error_is_a_refusal_and_harmless_on_a_terminal() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        command = await peer.hear()
        error = {"class": "GenericError", "desc": "no \x1b[31msuch\n device" + "x" * 9000}
        await peer.say({"error": error, "id": command["id"]})
        await peer.gone()

    async with session(script) as (qmp, _):
        with pytest.raises(QmpRefused) as caught:
            await qmp.execute("device_del", {"id": "x"})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500
    assert caught.value.qmp_class == "GenericError"


async def test_events_come_in_the_order_of_the_wire_with_the_answers() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        command = await peer.hear()
        await peer.say(
            {"event": "STOP", "data": {}}, {"return": {}, "id": command["id"]}, {"event": "RESUME"}
        )
        await peer.gone()

    async with session(script) as (qmp, ears):
        await qmp.execute("stop")
        assert ears.events[0] == QmpEvent("STOP", {})


async def test_no_greeting_is_unanswered_at_its_deadline() -> None:
    ears = Ears()
    async with serving(lambda peer: peer.gone()) as sock:
        with pytest.raises(QmpUnanswered, match=r"did not greet within 0\.05 s"):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost, deadline=0.05)
    assert ears.lost == []


async def test_silence_at_the_negotiation_is_unanswered_at_its_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.say({"QMP": {"version": {}, "capabilities": []}})
        await peer.gone()

    ears = Ears()
    async with serving(script) as sock:
        with pytest.raises(QmpUnanswered):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost, deadline=0.05)


@pytest.mark.parametrize(
    "greeting", [b"", b"SSH-2.0\r\n", b"[]\n", b'{"QMP": 1}\n', b'{"return": {}}\n', b"\xff\n"]
)
async def test_a_peer_that_does_not_speak_qmp_is_no_use(greeting: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.raw(greeting)
        peer.writer.close()

    ears = Ears()
    async with serving(script) as sock:
        with pytest.raises(QmpLost, match="no use"):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost, deadline=5)
    assert ears.lost == []


async def test_a_command_without_an_answer_ends_at_its_deadline_and_a_late_answer_harms_nobody() -> None:
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        late = await peer.hear()
        await heard.wait()
        await peer.say({"error": {"class": "GenericError", "desc": "too late"}, "id": late["id"]})
        await peer.answer("second")
        await peer.gone()

    async with session(script) as (qmp, _):
        with pytest.raises(QmpUnanswered, match=r"did not answer query-block within 0\.05 s"):
            await qmp.execute("query-block", deadline=0.05)
        heard.set()
        assert await qmp.execute("query-status") == "second"


GARBAGE = {
    "not json": b"hello\n",
    "not an object": b"[1, 2]\n",
    "invalid utf-8": b'{"event": "\xff\xfe"}\n',
    "huge line": b'{"return": "' + b"x" * (LINE_LIMIT + 100) + b'"}\n',
    "endless line": b"x" * (3 * LINE_LIMIT),
    "deep nesting": b"[" * 100_000 + b"\n",
    "a number of 5000 digits": b'{"return": ' + b"9" * 5000 + b"}\n",
    "an error without id": b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n',
    "an id of the wrong type": b'{"return": {}, "id": [1]}\n',
    "half a line": b'{"event": "ST',
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_ends_only_the_session_and_none_of_it_is_repeated(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    data = GARBAGE[name]

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.hear()
        await peer.raw(data)
        peer.writer.close()

    async with session(script) as (qmp, ears):
        with pytest.raises(QmpLost):
            await qmp.execute("query-status")
        reason = await ears.until_lost()
    assert len(reason) < 120
    assert "JSON parse error" not in reason
    assert not [record for record in caplog.records if record.name.startswith("qemu")]


@pytest.mark.parametrize(
    "line",
    [
        {"return": {}, "id": "nobody asked"},
        {"event": 7},
        {"event": None, "data": {}},
        {"event": {"a": 1}},
        {"event": "lower case"},
        {"event": "X" * 1000},
        {"event": "STOP", "data": []},
        {"event": "STOP", "data": None},
    ],
)
async def test_what_makes_no_sense_is_dropped_and_the_session_goes_on(line: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.say(line, {"event": "RESUME", "data": {}})
        await peer.answer("alive")
        await peer.gone()

    async with session(script) as (qmp, ears):
        assert await qmp.execute("query-status") == "alive"
        assert [event.name for event in ears.events] == ["RESUME"]


async def test_an_answer_given_twice_counts_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        command = await peer.hear()
        await peer.say(*({"return": number, "id": command["id"]} for number in range(3)))
        await peer.answer("next")
        await peer.gone()

    async with session(script) as (qmp, _):
        assert await qmp.execute("query-status") == 0
        assert await qmp.execute("query-status") == "next"


async def test_a_flood_is_read_at_a_bounded_rate_and_kept_nowhere() -> None:
    flood = b'{"event": "RTC_CHANGE", "data": {"offset": 1}}\n' * 1000
    started = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        started.set()
        while True:
            await peer.raw(flood)

    async with session(script) as (qmp, ears):
        await started.wait()
        began = time.monotonic()
        while len(ears.events) < 5000:
            ears.changed.clear()
            await ears.changed.wait()
        assert time.monotonic() - began > 0.3, "4000 at once, then 2000 a second"
        client = qmp._client
        assert client.events.empty()
        assert client.events.history == ()
        await qmp.close()
        assert ended_by_itself(qmp)
    assert ears.lost == []


async def test_closing_is_quick_although_the_peer_reads_nothing_and_the_buffer_is_full() -> None:
    silent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await silent.wait()

    async with session(script) as (qmp, _):
        text = "x" * 200_000
        waiting = [asyncio.ensure_future(qmp.execute("fill", {"text": text}, deadline=60)) for _ in range(20)]
        await asyncio.sleep(0)
        await qmp.close()
        assert ended_by_itself(qmp)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {QmpLost}


async def test_the_end_of_the_connection_is_told_exactly_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.hear()
        peer.writer.close()

    async with session(script) as (qmp, ears):
        with pytest.raises(QmpLost):
            await qmp.execute("quit")
        assert await ears.until_lost() == "the connection was closed"
        with pytest.raises(QmpLost):
            await qmp.execute("query-status")
        await qmp.close()
        await qmp.close()
    assert len(ears.lost) == 1


async def test_a_command_too_large_to_send_is_refused_before_it_is_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.gone()

    async with session(script) as (qmp, _):
        with pytest.raises(QmpRefused, match="larger than"):
            await qmp.execute("object-add", {"data": "x" * 300_000})


async def test_no_more_than_eight_commands_are_in_flight() -> None:
    sent: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        for _ in range(8):
            sent.append((await peer.hear())["execute"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await peer.hear()
        await peer.gone()

    async with session(script) as (qmp, _):
        calls = [asyncio.ensure_future(qmp.execute(f"c{number}", deadline=0.2)) for number in range(9)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert len(sent) == 8
    assert {type(result) for result in results} == {QmpUnanswered}


def test_the_members_of_qemu_qmp_that_are_relied_upon_exist() -> None:
    for name in (
        "_cb_inbound",
        "_cb_outbound",
        "_on_message",
        "runstate_changed",
        "disconnect",
        "execute_msg",
    ):
        assert callable(getattr(QMPClient, name)), name
    assert hasattr(QMPClient("x").events, "event_filter")


def test_an_event_is_checked_for_its_types() -> None:
    assert checked_event(json.loads('{"event": "RESET", "data": {"guest": true}}')) == QmpEvent(
        "RESET", {"guest": True}
    )


def test_printable_text_has_no_control_characters() -> None:
    assert (
        printable("a\x1b]0;x\x07\n\u202e")
        == "a\N{REPLACEMENT CHARACTER}]0;x" + "\N{REPLACEMENT CHARACTER}" * 3
    )
