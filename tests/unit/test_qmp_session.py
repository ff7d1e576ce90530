"""The QMP session against a server that springs every trap known of qemu.qmp and of hostile peers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from qemu.qmp import QMPClient
from qemu.qmp.qmp_client import GreetingError, NegotiationError

from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.client import LINE_LIMIT
from qsup.qmp.session import EVENT_LIMIT, QmpEvent, QmpSession, checked_event, printable
from tests.fakes.fake_qmp import GREETING, Peer, Script, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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


async def test_a_negotiation_that_is_refused_is_no_use() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(GREETING)
        await peer.hear()
        await peer.say({"error": {"class": "GenericError", "desc": "no"}})
        await peer.gone()

    ears = Ears()
    async with serving(script) as sock:
        with pytest.raises(QmpLost, match="does not speak QMP"):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost)
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
    "half a surrogate": b'{"event": "STOP", "data": {"x": "\\ud800"}}\n',
    "not a number": b'{"return": NaN}\n',
    "an answer to nothing": b'{"return": {}}\n',
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
        {"error": {"class": "x", "desc": "y"}, "id": "nobody asked"},
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
        assert qmp.malformed == ("event" in line)


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
        sent.extend([(await peer.hear())["execute"] for _ in range(8)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await peer.hear()
        await peer.gone()

    async with session(script) as (qmp, _):
        calls = [asyncio.ensure_future(qmp.execute(f"c{number}", deadline=0.2)) for number in range(9)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert len(sent) == 8
    assert {type(result) for result in results} == {QmpUnanswered}


@pytest.mark.parametrize("turns", range(8))
async def test_the_last_words_of_a_qemu_are_heard_although_a_command_meets_its_closed_socket(
    turns: int,
) -> None:
    """QEMU ends some turns of the event loop after a command was given; in one of them the command is written."""
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        peers.append(peer)
        await asyncio.get_running_loop().create_future()

    async with session(script) as (qmp, ears):
        command = asyncio.ensure_future(qmp.execute("query-status"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await peers[0].say({"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}})
        peers[0].hang_up()
        with pytest.raises(QmpLost):
            await command
        await ears.until_lost()
    assert [event.name for event in ears.events] == ["SHUTDOWN"]


async def test_a_peer_that_hangs_up_with_its_last_word_of_the_handshake_is_no_use() -> None:
    """qemu.qmp asserts then that it is still connected."""

    async def script(peer: Peer) -> None:
        await peer.say(GREETING)
        await peer.hear()
        await peer.say({"return": {}})
        peer.hang_up()

    ears = Ears()
    before = asyncio.all_tasks()
    async with serving(script) as sock:
        with pytest.raises(QmpLost, match="the connection was closed"):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost)
    gc.collect()
    assert ears.lost == []
    assert asyncio.all_tasks() == before


async def test_a_handshake_over_a_full_socket_ends_at_its_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(GREETING)
        await asyncio.get_running_loop().create_future()

    ears = Ears()
    async with serving(script) as sock:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b" " * 4096)
        with pytest.raises(QmpUnanswered):
            await QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost, deadline=0.05)
        assert sock.fileno() == -1, "the session owned the socket"


async def test_a_cancelled_handshake_leaves_nothing_behind() -> None:
    ears = Ears()
    before = asyncio.all_tasks()
    async with serving(lambda peer: peer.gone()) as sock:
        connecting = asyncio.ensure_future(
            QmpSession.connect(sock, on_event=ears.on_event, on_lost=ears.on_lost)
        )
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert sock.fileno() == -1
    assert asyncio.all_tasks() == before


async def test_an_answer_that_is_late_keeps_its_place_until_it_comes() -> None:
    """So a QEMU that hangs for days is not sent thousands of commands, to be executed when it wakes."""
    ninth = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        late = [await peer.hear() for _ in range(8)]
        await ninth.wait()
        await peer.say({"return": {}, "id": late[0]["id"]})
        assert (await peer.answer("awake"))["execute"] == "ninth"
        await peer.gone()

    async with session(script) as (qmp, _):
        calls = [asyncio.ensure_future(qmp.execute("stop", deadline=0.05)) for _ in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {QmpUnanswered}
        with pytest.raises(QmpUnanswered, match="was not sent cont within"):
            await qmp.execute("cont", deadline=0.05)
        waiting = asyncio.ensure_future(qmp.execute("ninth"))
        ninth.set()
        assert await waiting == "awake"


async def test_an_answer_that_never_comes_leaves_no_exception_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.gone()

    async with session(script) as (qmp, _):
        with pytest.raises(QmpUnanswered):
            await qmp.execute("query-status", deadline=0.02)
    gc.collect()
    assert caplog.records == []


async def test_a_command_out_of_band_passes_those_that_wait() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        while (command := await peer.hear()).get("exec-oob") is None:
            pass
        await peer.say({"return": ["chardev"], "id": command["id"]})
        await peer.gone()

    async with session(script) as (qmp, _):
        stuck = [asyncio.ensure_future(qmp.execute("query-status")) for _ in range(20)]
        assert await qmp.execute("query-yank", oob=True) == ["chardev"]
        await qmp.close()
        await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.parametrize("answer", [{}, {"error": "no"}, {"error": {"desc": 7, "class": []}}])
async def test_an_answer_that_is_none_leaves_the_outcome_unknown(answer: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        command = await peer.hear()
        await peer.say({**answer, "id": command["id"]})
        await peer.answer("alive")
        await peer.gone()

    async with session(script) as (qmp, _):
        with pytest.raises(QmpUnanswered, match="what is no answer"):
            await qmp.execute("stop")
        assert await qmp.execute("query-status") == "alive"


async def test_arguments_that_qemu_could_not_parse_are_refused_before_they_are_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.answer("alive")
        await peer.gone()

    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    async with session(script) as (qmp, _):
        for value in ("\ud800", object(), nested):
            with pytest.raises(QmpRefused, match="cannot be written as JSON"):
                await qmp.execute("qom-set", {"value": value})
        assert await qmp.execute("query-status") == "alive"
    while nested:
        nested = nested[0]


async def test_a_handler_that_fails_costs_no_session(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.say({"event": "STOP"})
        await peer.answer("alive")
        peer.hang_up()

    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with serving(script) as sock:
        qmp = await QmpSession.connect(sock, on_event=fail, on_lost=fail)
        assert await qmp.execute("query-status") == "alive"
        assert qmp._watcher is not None
        await qmp._watcher
        await qmp.close()
    assert [record.message for record in caplog.records] == [
        "a bug in qsup: what came over QMP could not be handled"
    ] * 2


async def test_long_lines_count_as_many_messages() -> None:
    line = b'{"event": "RTC_CHANGE", "data": {"text": "' + b"x" * 60_000 + b'"}}\n'

    async def script(peer: Peer) -> None:
        await peer.greet()
        while True:
            await peer.raw(line)

    async with session(script) as (qmp, ears):
        began = time.monotonic()
        while len(ears.events) < 20:
            ears.changed.clear()
            await ears.changed.wait()
        assert time.monotonic() - began > 0.2, "1 MB at once, then half a megabyte a second"
        await qmp.close()
        assert ended_by_itself(qmp)


async def test_the_version_is_the_one_of_the_greeting() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.gone()

    async with session(script) as (qmp, _):
        assert qmp.version == "7.2.0"


async def test_a_version_that_is_none_is_unknown() -> None:
    async def script(peer: Peer) -> None:
        await peer.say({"QMP": {"version": {"qemu": "\x1b[31m"}, "capabilities": "oob"}})
        await peer.hear()
        await peer.say({"return": {}})
        await peer.gone()

    async with session(script) as (qmp, _):
        assert qmp.version == "unknown"


def test_the_members_of_qemu_qmp_that_are_relied_upon_exist() -> None:
    hooks = ("_cb_inbound", "_cb_outbound", "_do_recv", "_do_send", "_on_message")
    for name in (*hooks, "_readline", "runstate_changed", "disconnect", "execute_msg"):
        assert callable(getattr(QMPClient, name)), name
    client = QMPClient("x")
    assert hasattr(client.events, "event_filter")
    assert client._writer is None
    assert hasattr(GreetingError("", EOFError()), "exc")
    assert hasattr(NegotiationError("", EOFError()), "exc")


def test_an_event_is_checked_for_its_types() -> None:
    stamp = {"seconds": 1_700_000_000, "microseconds": 250_000}
    message = {"event": "RESET", "data": {"guest": True}, "timestamp": stamp}
    assert checked_event(message) == QmpEvent("RESET", {"guest": True}, 1_700_000_000.25)


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        7,
        {},
        {"seconds": -1, "microseconds": -1},
        {"seconds": 10**30, "microseconds": 0},
        {"seconds": "1"},
    ],
)
def test_a_time_that_is_none_costs_only_the_time(stamp: object) -> None:
    assert checked_event({"event": "STOP", "timestamp": stamp}) == QmpEvent("STOP", {}, None)


def test_an_event_with_more_data_than_qemu_ever_sends_is_dropped() -> None:
    assert checked_event({"event": "STOP", "data": {"x": "y" * EVENT_LIMIT}}) is None


def test_printable_text_has_no_control_characters() -> None:
    assert (
        printable("a\x1b]0;x\x07\n\u202e")
        == "a\N{REPLACEMENT CHARACTER}]0;x" + "\N{REPLACEMENT CHARACTER}" * 3
    )
