"""What is remembered of a guest: bounded whatever it does, without secrets, and with what matters still in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from qsup.blackbox import rings
from qsup.blackbox.rings import MESSAGES, MESSAGES_SIZE, TEXT, Messages, Rings
from qsup.events import Event, Kind
from qsup.qmp.session import QmpSession
from tests.fakes.fake_qmp import Peer, serving

if TYPE_CHECKING:
    import pytest


class Talk:
    """A conversation, spoken as qemu.qmp and QEMU write it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.messages = Messages(lambda: self.now)
        self._id = 0

    def ask(self, command: str, **arguments: Any) -> str:
        self.now += 1
        self._id += 1
        message = {"execute": command, "arguments": arguments, "id": f"__qmp#{self._id:05}"}
        self.messages.sent(message, json.dumps(message, separators=(",", ":")).encode())
        return message["id"]  # type: ignore[return-value]

    def answer(self, id_: str, value: Any) -> None:
        self.say({"return": value, "id": id_})

    def event(self, name: str, **data: Any) -> None:
        stamp = {"seconds": int(self.now) + 1, "microseconds": 5}
        self.say({"timestamp": stamp, "event": name, "data": data})

    def say(self, message: Any) -> None:
        self.now += 1
        self.messages.received(json.dumps(message).encode() + b"\r\n")

    def poll(self, value: Any) -> None:
        self.answer(self.ask("query-status"), value)

    @property
    def texts(self) -> list[str]:
        return [message.text.decode() for message in self.messages.remembered()]


def test_both_ways_are_kept_in_their_order_with_their_times() -> None:
    talk = Talk()
    talk.answer(talk.ask("stop"), {})
    talk.event("STOP")
    out, answer, event = talk.messages.remembered()
    assert [message.way for message in (out, answer, event)] == ["out", "in", "in"]
    assert [message.first for message in (out, answer, event)] == [1001.0, 1002.0, 1003.0]
    assert json.loads(out.text)["execute"] == "stop"
    assert not event.text.endswith(b"\n")


def test_polls_push_out_nothing_and_the_last_answer_is_the_one_kept() -> None:
    talk = Talk()
    talk.answer(talk.ask("device_del", id="x"), {})
    for number in range(5000):
        talk.poll({"status": "running", "n": number})
        talk.answer(talk.ask("query-blockstats"), [number])
    texts = talk.texts
    assert len(texts) == 6
    assert "device_del" in texts[0]
    assert '"n": 4999' in texts[3]
    assert [message.times for message in talk.messages.remembered()] == [1, 1, 5000, 5000, 5000, 5000]


def test_a_loop_of_several_messages_is_counted() -> None:
    talk = Talk()
    talk.event("SHUTDOWN", guest=True)
    for _ in range(1000):
        talk.event("BLOCK_IO_ERROR", device="root")
        talk.event("STOP")
        talk.answer(talk.ask("cont"), {})
        talk.event("RESUME")
    assert len(talk.texts) == 6
    assert talk.messages.remembered()[-1].times == 1000


def test_what_comes_again_much_later_is_kept_again() -> None:
    talk = Talk()
    talk.event("STOP")
    for number in range(20):
        talk.event("RTC_CHANGE", offset=number)
    talk.event("STOP")
    assert sum('"STOP"' in text for text in talk.texts) == 2


def test_a_refusal_which_begins_with_its_id_is_no_new_message_each_time() -> None:
    talk = Talk()
    for _ in range(50):
        talk.say({"id": talk.ask("query-nothing"), "error": {"class": "CommandNotFound", "desc": "no"}})
    assert [message.times for message in talk.messages.remembered()] == [50, 50]


def test_a_long_message_is_cut_and_its_length_told() -> None:
    talk = Talk()
    talk.say({"return": "x" * 100_000, "id": "y"})
    (message,) = talk.messages.remembered()
    assert len(message.text) == TEXT
    assert message.length > 100_000


def test_a_secret_is_kept_neither_as_it_is_set_nor_as_it_is_asked_for() -> None:
    talk = Talk()
    talk.ask("set_password", protocol="vnc", password="hush-1")
    talk.ask("object-add", **{"qom-type": "secret", "id": "s0", "data": "hush-2"})
    talk.ask("human-monitor-command", **{"command-line": "change vnc password hush-3"})
    talk.ask("send-key", keys=[{"type": "qcode", "data": "h"}], hold=5)
    talk.ask(
        "input-send-event", events=[{"type": "key", "data": {"key": {"type": "qcode", "data": "hush-4"}}}]
    )
    talk.ask("qom-set", path="/objects/s0", property="data", value="hush-5")
    talk.answer(talk.ask("qom-get", path="/objects/s0", property="data"), "hush-6")
    talk.say({"return": [{"file": 'json:{"driver": "https", "password": "hush-7"}'}], "id": "z"})
    talk.say({"return": [{"file": "https://me:hush-8@host/x"}], "id": "z"})
    text = "\n".join(talk.texts)
    assert "hush" not in text
    assert '"qcode"' not in text
    assert text.count("(removed)") == 9
    assert '"s0"' in text, "what is no secret stays"


def test_what_is_no_secret_is_kept_though_it_was_typed() -> None:
    talk = Talk()
    talk.ask("human-monitor-command", **{"command-line": "info registers"})
    talk.ask("qom-set", path="/machine/x", property="guest-stats-polling-interval", value=2)
    assert "info registers" in talk.texts[0]
    assert '"value":2' in talk.texts[1].replace(" ", "")


@given(
    st.lists(
        st.binary(max_size=3 * TEXT) | st.sampled_from([b'{"id"', b'{"timestamp"', b'"id": "\r\n']),
        max_size=60,
    )
)
def test_nothing_that_a_peer_sends_breaks_the_bounds(lines: list[bytes]) -> None:
    messages = Messages()
    for line in lines * 5:
        messages.received(line)
    kept = messages.remembered()
    assert len(kept) <= MESSAGES
    assert sum(len(message.text) for message in kept) <= MESSAGES_SIZE
    assert all(len(message.text) <= TEXT for message in kept)


def test_a_flood_of_different_messages_keeps_the_last_within_the_bounds() -> None:
    talk = Talk()
    for number in range(2000):
        talk.event("RTC_CHANGE", offset=number, padding="x" * (number % 900))
    kept = talk.messages.remembered()
    assert '"offset": 1999' in kept[-1].text.decode()
    assert sum(len(message.text) for message in kept) <= MESSAGES_SIZE
    assert len(kept) <= MESSAGES


def test_commands_that_are_never_answered_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    for _ in range(1000):
        talk.ask("query-status")
    assert len(talk.messages._asked) <= rings.UNANSWERED


def test_what_is_remembered_does_not_change_afterwards() -> None:
    talk = Talk()
    talk.poll({})
    before = talk.messages.remembered()
    talk.poll({})
    assert [message.times for message in before] == [1, 1]


def test_a_new_process_begins_with_an_empty_conversation_and_events_go_on() -> None:
    memory = Rings()
    memory.messages.received(b'{"event": "STOP"}')
    memory.sampled(1.0, {"cpu": 1})
    memory.happened(Event(1, 1.0, Kind.NOTICE, {"name": "a", "message": "b"}))
    assert [len(part) for part in (memory.remembered().messages, memory.remembered().samples)] == [1, 1]
    memory.renew()
    assert memory.remembered().messages == ()
    assert memory.remembered().samples == ()
    assert len(memory.remembered().events) == 1


def test_events_and_samples_are_the_last_of_many() -> None:
    memory = Rings()
    for number in range(500):
        memory.sampled(float(number), number)
        memory.happened(Event(number, 1.0, Kind.NOTICE, {}))
    kept = memory.remembered()
    assert (len(kept.events), len(kept.samples)) == (rings.EVENTS, rings.SAMPLES)
    assert (kept.events[-1].seq, kept.samples[-1].values) == (499, 499)


async def test_a_session_shows_its_observer_the_whole_conversation() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.say({"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"})
        await peer.answer({"status": "paused"})
        await peer.gone()

    messages = Messages()
    async with serving(script) as sock:
        session = await QmpSession.connect(
            sock, on_event=lambda _: None, on_lost=lambda _: None, observer=messages
        )
        await session.execute("query-status")
        await session.close()
    kept = [(message.way, message.text.decode()) for message in messages.remembered()]
    # The event is sent with the answer to the negotiation, and the question whenever the test comes to it.
    assert len(kept) == 6
    assert kept[0][1].startswith('{"QMP"')
    assert "qmp_capabilities" in kept[1][1]
    assert kept[-1][1].startswith('{"return": {"status": "paused"}')


async def test_a_bug_in_an_observer_does_not_end_the_session(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def sent(self, *_: object) -> None:
            raise RuntimeError("planted")

        def received(self, *_: object) -> None:
            raise RuntimeError("planted")

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.answer({"status": "running"})
        await peer.gone()

    async with serving(script) as sock:
        session = await QmpSession.connect(
            sock, on_event=lambda _: None, on_lost=lambda _: None, observer=Broken()
        )
        assert await session.execute("query-status") == {"status": "running"}
        await session.close()
    assert "could not be observed" in caplog.text
