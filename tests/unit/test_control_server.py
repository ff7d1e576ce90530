"""The control socket over real sockets, in front of a fake supervisor: what each client gets, and what none can do."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from qemu.qmp import ExecuteError, QMPClient

from qsup.access.peer import Peer
from qsup.blackbox.shelf import Shelf
from qsup.control.commands import COMMANDS
from qsup.endpoint import bind
from qsup.errors import QmpRefused, QsupError, Refused
from qsup.events import Kind
from qsup.phase import Verb
from qsup.spec.tables.keeping import Crashes
from tests.fakes.control_bench import LIMITS, Bench, running_bench, until
from tests.fakes.crashes import crash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as bench:
        yield bench


async def test_the_greeting_and_the_negotiation_are_qmps(bench: Bench) -> None:
    client = await bench.client(negotiate=False)
    greeting = await client.line()
    assert set(greeting["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}
    assert greeting["QMP"]["version"]["package"].startswith("qsup ")
    assert greeting["QMP"]["capabilities"] == []
    early = await client.ask("query-version")
    assert early["error"] == {
        "class": "CommandNotFound",
        "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
    }
    assert await client.ask("qmp_capabilities") == {"return": {}}
    late = await client.ask("qmp_capabilities")
    assert late["error"]["class"] == "CommandNotFound"
    assert (await client.ask("query-version"))["return"]["version"] == "0.1.0"


async def test_the_socket_is_for_its_owner_only(bench: Bench) -> None:
    assert stat.S_IMODE(os.stat(bench.path).st_mode) == 0o600


async def test_ids_of_any_json_type_are_echoed(bench: Bench) -> None:
    client = await bench.client()
    for id_ in ("a", 7, None, [1, {"b": 2}], {"c": 1.5}):
        client.write({"execute": "query-version", "id": id_})
        assert (await client.line())["id"] == id_
        client.write({"execute": "no-such", "id": id_})
        assert (await client.line())["id"] == id_


@pytest.mark.parametrize(
    ("message", "wire_class", "words"),
    [
        (b'{"execute": "no-such"}', "CommandNotFound", "The command no-such has not been found"),
        (b'{"a": b}', "GenericError", "JSON parse error"),
        (b'{"execute": "\xff"}', "GenericError", "JSON parse error"),
        (b'{"id": 1}', "GenericError", "QMP input lacks member 'execute'"),
        (b'{"execute": 1}', "GenericError", "QMP input member 'execute' must be a string"),
        (
            b'{"execute": "a", "arguments": []}',
            "GenericError",
            "QMP input member 'arguments' must be an object",
        ),
        (b'{"execute": "a", "x": 1}', "GenericError", "QMP input member 'x' is unexpected"),
        (b'{"execute": "a", "id": "%s"}' % (b"i" * 4000 + b"\\u0001" * 20), "GenericError", "'id' is longer"),
        (b'{"execute": "guest-log"}', "GenericError", "Parameter 'name' is missing"),
        (
            b'{"execute": "guest-log", "arguments": {"name": "web1", "nam": 1}}',
            "GenericError",
            "Parameter 'nam' is unexp",
        ),
        (
            b'{"execute": "guest-log", "arguments": {"name": 1}}',
            "GenericError",
            "type for 'name', expected: string",
        ),
        (b'{"execute": "guest-start"}', "UsageError", "Parameter 'name' is missing"),
        (b'{"execute": "guest-start", "arguments": {"name": "nope"}}', "GuestNotFound", "no guest nope"),
        (
            b'{"execute": "guest-start", "arguments": {"names": ["web1", "z*"]}}',
            "GuestNotFound",
            "no guest matches 'z*'",
        ),
    ],
)
async def test_a_bad_request_gets_its_error_and_the_connection_goes_on(
    bench: Bench, message: bytes, wire_class: str, words: str
) -> None:
    client = await bench.client()
    client.write(message)
    error = (await client.line())["error"]
    assert error["class"] == wire_class
    assert words in error["desc"]
    assert "return" in await client.ask("query-version")
    assert bench.guests.asked == []


@pytest.mark.parametrize(
    ("poison", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "expected a JSON object"),
        (b"\x00\xff" * 1000, "expected a JSON object"),
        (b'{"execute": "' + b"x" * 20000, "longer than 16384 bytes"),
        (b'{"a":' * 1000, "nested deeper"),
    ],
)
@pytest.mark.parametrize("negotiated", [False, True])
async def test_poison_ends_that_connection_with_a_reason_and_no_other(
    bench: Bench, poison: bytes, words: str, negotiated: bool
) -> None:
    bystander = await bench.client()
    client = await bench.client(negotiate=negotiated)
    client.write(poison)
    assert words in (await client.rest()).decode().splitlines()[-1]
    assert "return" in await bystander.ask("query-version")


async def test_half_a_line_waits_for_its_other_half(bench: Bench) -> None:
    client = await bench.client()
    client.write(b'{"execute": "query-')
    assert "return" in await (await bench.client()).ask("query-version")
    client.write(b'version"}')
    assert "return" in await client.line()


async def test_a_client_that_ends_its_side_still_gets_its_answers(bench: Bench) -> None:
    client = await bench.client(negotiate=False)
    client.write(b'{"execute":"qmp_capabilities"}{"execute":"query-version"}{"execute":"query-')
    client.writer.write_eof()
    lines = (await client.rest()).splitlines()
    assert [next(iter(json.loads(line))) for line in lines] == ["QMP", "return", "return"]


async def test_a_slow_handshake_is_ended(bench: Bench) -> None:
    client = await bench.client(negotiate=False)
    client.write(b'{"execute": "query-version"}')
    assert "no qmp_capabilities within 0.2 s" in (await client.rest()).decode().splitlines()[-1]


async def test_idle_clients_that_have_negotiated_may_stay(bench: Bench) -> None:
    client = await bench.client()
    slow = await bench.client(negotiate=False)
    await slow.rest()  # The handshake's deadline has passed by now.
    assert "return" in await client.ask("query-version")


async def test_more_clients_than_places_are_told_so_and_places_become_free_again(bench: Bench) -> None:
    clients = [await bench.client(negotiate=False) for _ in range(100)]
    first_lines = [await client.line() for client in clients]
    served = [client for client, line in zip(clients, first_lines, strict=True) if "QMP" in line]
    assert len(served) == LIMITS.clients
    assert sum("8 clients already" in line["error"]["desc"] for line in first_lines if "error" in line) == 92
    assert await served[0].ask("qmp_capabilities") == {"return": {}}
    for client in clients:
        await client.close()
    async with asyncio.timeout(5):
        while "QMP" not in await (await bench.client(negotiate=False)).line():
            pass


async def test_a_client_that_never_reads_is_dropped_and_nobody_else_notices(bench: Bench) -> None:
    reading = await bench.client()
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(bench.path)
    deaf.sendall(b'{"execute":"qmp_capabilities"}')
    async with asyncio.timeout(5):
        await until(lambda: len(bench.guests.bus.subscribers) >= 2)
        seen = 0
        while len(bench.guests.bus.subscribers) == 2:
            bench.guests.bus.publish(Kind.NOTICE, name="web1", message="x" * 4000)
            assert (await reading.line())["event"] == "GUEST_NOTICE"
            seen += 1
    assert seen * 4000 < LIMITS.pending + 1024 * 1024
    assert "return" in await reading.ask("query-version")
    deaf.close()


async def test_events_come_to_every_negotiated_client_in_order_and_to_no_other(bench: Bench) -> None:
    client, other = await bench.client(), await bench.client()
    silent = await bench.client(negotiate=False)
    for number in range(3):
        bench.guests.bus.publish(Kind.NOTICE, name="web1", message=str(number))
    for listener in (client, other):
        events = [await listener.line() for _ in range(3)]
        assert [event["data"]["message"] for event in events] == ["0", "1", "2"]
        assert [event["seq"] for event in events] == [1, 2, 3]
        assert set(events[0]["timestamp"]) == {"seconds", "microseconds"}
    lines = [json.loads(line) for line in (await silent.rest()).splitlines()]
    assert [next(iter(line)) for line in lines] == ["QMP", "error"]


async def test_commands_of_a_connection_are_answered_in_order(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    client = await bench.client()
    client.write({"execute": "guest-stop", "arguments": {"name": "web1"}, "id": 1})
    client.write({"execute": "query-version", "id": 2})
    await bench.guests.waiting.wait()
    bench.guests.release.set()
    lines = [await client.line() for _ in range(3)]
    assert [line["id"] for line in lines if "event" not in line] == [1, 2]


async def test_a_client_that_goes_away_ends_its_waiting_not_the_deed(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    client = await bench.client()
    client.write({"execute": "guest-stop", "arguments": {"name": "web1"}})
    async with asyncio.timeout(5):
        await bench.guests.waiting.wait()
        await client.close()
        await bench.guests.abandoned.wait()
    assert [(name, verb) for name, verb, _ in bench.guests.asked] == [("web1", Verb.STOP)]


async def test_a_client_that_goes_away_does_not_end_a_deed_on_several_guests(bench: Bench) -> None:
    bench.guests.held = {"web2"}
    client = await bench.client()
    client.write({"execute": "guest-stop", "arguments": {"names": ["*"]}})
    async with asyncio.timeout(5):
        await bench.guests.waiting.wait()
        await client.close()
        await until(lambda: len(bench.guests.bus.subscribers) == 0)
        bench.guests.release.set()
        await until(lambda: len(bench.guests.done) >= 3)
    assert not bench.guests.abandoned.is_set()


async def test_waiting_has_a_deadline_and_the_error_says_that_it_may_still_happen(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    client = await bench.client()
    error = (await client.ask("guest-stop", name="web1", timeout=0.01))["error"]
    assert error["class"] == "TimedOut"
    assert "web1: stop not done within 0.01 s; it may still happen" in error["desc"]


async def test_without_wait_the_answer_says_what_was_accepted(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    client = await bench.client()
    answer = (await client.ask("guest-stop", name="web1", wait=False))["return"]
    assert answer == {
        "name": "web1",
        "done": True,
        "message": "stop accepted",
        "error": None,
        "exit": 0,
        "cut-short": False,
    }


async def test_one_guests_failure_does_not_hide_the_others(bench: Bench) -> None:
    bench.guests.failures = {"web1": Refused("web1: is stopped; there is nothing to pause")}
    client = await bench.client()
    outcomes = (await client.ask("guest-pause", names=["web*"]))["return"]
    assert [(o["name"], o["done"], o["error"]) for o in outcomes] == [
        ("web1", False, "Refused"),
        ("web2", True, None),
    ]
    text = (await client.ask("guest-pause", names=["web*"], format="text"))["return"]
    assert text == {
        "exit": 1,
        "text": "web2: pause done after 0.1 s\n",
        "errors": "web1: is stopped; there is nothing to pause\n",
    }


async def test_several_guests_that_are_late_are_told_apart_from_those_that_are_done(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    client = await bench.client()
    outcomes = (await client.ask("guest-start", names=["*"], timeout=0.01))["return"]
    assert {o["name"]: o["exit"] for o in outcomes} == {"db1": 6, "web1": 0, "web2": 0}
    bench.guests.release.set()


async def test_the_asker_is_named_to_the_guest(bench: Bench) -> None:
    client = await bench.client()
    await client.ask("guest-reset", name="web1")
    me = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()}, pid {os.getpid()})"
    assert bench.guests.asked == [("web1", Verb.RESET, me)]
    event = bench.guests.bus.recent[-1]
    assert (event.kind, event.data) == (
        Kind.COMMAND,
        {"name": "web1", "command": "guest-reset", "by": me, "uid": os.getuid(), "pid": os.getpid()},
    )


async def test_a_bug_costs_one_answer_and_shows_no_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.guests.failures = {"web1": ZeroDivisionError("secret")}
    client = await bench.client()
    error = (await client.ask("guest-start", name="web1"))["error"]
    assert error["class"] == "GenericError"
    assert error["desc"].startswith("internal error (ZeroDivisionError)")
    assert "secret" not in error["desc"]
    assert "ZeroDivisionError: secret" in caplog.text
    assert "return" in await client.ask("query-version")


async def test_what_qemu_refuses_comes_back_as_qemu_said_it(bench: Bench) -> None:
    bench.guests.failures = {"web1": QmpRefused("Device 'x' not found", "DeviceNotFound")}
    client = await bench.client()
    error = (await client.ask("guest-qmp", name="web1", command="device_del", arguments={"id": "x"}))["error"]
    assert error == {"class": "DeviceNotFound", "desc": "Device 'x' not found"}
    assert bench.guests.qmp_calls == [("web1", "device_del", {"id": "x"})]


async def test_only_root_and_the_daemons_own_user_may_come_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Peer(pid=1, uid=os.geteuid() + 12345, gids=frozenset({1}))
    monkeypatch.setattr(Peer, "of", lambda _: stranger)
    client = await bench.client(negotiate=False)
    lines = [json.loads(line) for line in (await client.rest()).splitlines()]
    assert [line["error"]["class"] for line in lines] == ["NotAllowed"]


async def test_a_console_is_raw_both_ways_after_its_answer(bench: Bench) -> None:
    console = bench.guests.consoles["web1"]
    console.log = b"one\ntwo\r\nthree"
    client = await bench.client()
    client.write(b'{"execute":"guest-console","arguments":{"name":"web1","tail":2}}\ntyped ahead')
    assert (await client.line())["return"] == {"name": "web1", "serial": "console", "read-only": False}
    async with asyncio.timeout(5):
        assert await client.reader.readexactly(10) == b"two\r\nthree"
        assert await console.typed.get() == b"typed ahead"
        bench.guests.bus.publish(Kind.NOTICE, name="web1", message="no event comes into a console")
        console.feed(b"\xff\x00{raw")
        assert await client.reader.readexactly(6) == b"\xff\x00{raw"
        client.write(b"\x03")
        assert await console.typed.get() == b"\x03"
        client.writer.write_eof()
        console.feed(b"still shown")
        assert await client.reader.readexactly(11) == b"still shown"
        console.feed(None)
    assert await client.rest() == b""


async def test_a_read_only_console_types_nothing_and_a_guest_that_is_off_takes_nothing(bench: Bench) -> None:
    console = bench.guests.consoles["web1"]
    watcher, typist = await bench.client(), await bench.client()
    await watcher.ask("guest-console", name="web1", **{"read-only": True})
    await typist.ask("guest-console", name="web1")
    watcher.write(b"not typed")
    console.off = True
    typist.write(b"lost")
    async with asyncio.timeout(5):
        console.feed(b"!")
        assert await watcher.reader.readexactly(1) == await typist.reader.readexactly(1) == b"!"
    assert console.typed.empty()


async def test_a_console_ends_with_its_client(bench: Bench) -> None:
    client = await bench.client()
    await client.ask("guest-console", name="web1")
    await client.close()
    async with asyncio.timeout(5):
        await until(lambda: not bench.guests.consoles["web1"].viewers)


@pytest.mark.parametrize("unread", [False, True])
async def test_what_a_client_typed_before_it_went_reaches_the_guest(bench: Bench, *, unread: bool) -> None:
    console = bench.guests.consoles["web1"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bench.path))
        client.sendall(
            b'{"execute":"qmp_capabilities"}{"execute":"guest-console","arguments":{"name":"web1"}}\n'
        )
        async with asyncio.timeout(5):
            await console.attached.wait()
            if unread:
                console.feed(b"login: ")
            await asyncio.to_thread(wait_for, client, b"login: " if unread else b"read-only")
        client.sendall(b"root")
        client.sendall(b"\n")
        if not unread:
            client.recv(4096)
    console.feed(b"more")
    async with asyncio.timeout(5):
        assert await console.typed.get() == b"root\n"
        await until(lambda: not console.viewers)


async def test_a_client_that_goes_without_having_read_is_no_error(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bench.path))
        client.sendall(b'{"execute":"qmp_capabilities"}')
        async with asyncio.timeout(5):
            await asyncio.to_thread(wait_for, client, b'"return"')
    other = await bench.client()
    assert "return" in await other.ask("query-version")
    await other.close()
    await bench.server.close()
    assert "error" not in caplog.text


def wait_for(client: socket.socket, text: bytes) -> None:
    """Wait until a text has come, and leave it there unread."""
    while text not in client.recv(4096, socket.MSG_PEEK):
        pass


async def test_an_unknown_serial_port_is_an_error_and_the_connection_goes_on(bench: Bench) -> None:
    client = await bench.client()
    error = (await client.ask("guest-console", name="web1", serial="nope"))["error"]
    assert "web1 has no serial port nope" in error["desc"]
    assert "return" in await client.ask("query-version")


async def test_closing_ends_everybody_within_the_deadline_and_removes_the_socket(bench: Bench) -> None:
    bench.guests.held = {"web1"}
    waiting, idle, console = await bench.client(), await bench.client(), await bench.client()
    waiting.write({"execute": "guest-stop", "arguments": {"name": "web1"}})
    await console.ask("guest-console", name="web1")
    await bench.guests.waiting.wait()
    async with asyncio.timeout(2):
        await bench.server.close()
    for client in (waiting, idle, console):
        assert all(b'"COMMAND"' in line for line in (await client.rest()).splitlines())
    assert not os.path.exists(bench.path)


async def test_a_dead_daemons_socket_is_taken_over_but_nothing_else_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    bind(str(path)).close()
    bind(str(path)).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(QsupError, match="something lies there that is no socket"):
        bind(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(QsupError, match="too long for a socket"):
        bind(str(tmp_path / ("x" * 120)))


async def test_every_command_has_a_handler_and_a_schema(bench: Bench, tmp_path: Path) -> None:
    bench.guests.crashes = Shelf(tmp_path / "crashes", Crashes())
    kept = await bench.guests.crashes.write(crash())
    assert kept is not None
    values = {
        "name": "web1",
        "command": "stop",
        "id": kept.id,
        "file": "summary.md",
        "kind": "kill",
        "alert": "ops",
        "budget": 60.0,
    }
    client = await bench.client()
    names = [entry["name"] for entry in (await client.ask("query-commands"))["return"]]
    assert set(names) == {"qmp_capabilities", *COMMANDS}
    schema = (await client.ask("query-schema"))["return"]
    assert set(schema) == set(COMMANDS)
    assert all(entry["description"] and entry["arguments"]["type"] == "object" for entry in schema.values())
    for name in COMMANDS.keys() - {"guest-console"}:
        required = schema[name]["arguments"].get("required", [])
        given = {key: values[key] for key in required}
        if name.startswith("guest-"):
            given["name"] = "web1"
        assert "return" in await client.ask(name, **given), name


async def test_qemus_own_client_library_can_drive_it(bench: Bench) -> None:
    client = QMPClient("test")
    async with asyncio.timeout(5):
        await client.connect(bench.path)
        listed = await client.execute("query-guests", {"names": ["web*"]})
        assert isinstance(listed, list)
        assert [guest["name"] for guest in listed] == ["web1", "web2"]
        bench.guests.bus.publish(Kind.NOTICE, name="web1", message="hello")
        assert (await client.events.get())["data"] == {"name": "web1", "message": "hello"}
        with pytest.raises(ExecuteError, match="there is no guest nope"):
            await client.execute("guest-start", {"name": "nope"})
        await client.disconnect()


async def test_a_stop_within_a_time_tells_who_was_cut_short_and_its_plan_who_may_be(bench: Bench) -> None:
    client = await bench.client()
    outcomes = (await client.ask("guest-stop", names=["*"], budget=60))["return"]
    assert [(one["name"], one["cut-short"]) for one in outcomes] == [
        ("db1", True),
        ("web1", False),
        ("web2", False),
    ]
    text = (await client.ask("guest-stop", names=["web*"], budget=60, format="text"))["return"]
    assert text["errors"] == "cut short, for want of time: web1\n"
    refused = await client.ask("guest-stop", name="web1", budget=60)
    assert "are for 'names'" in refused["error"]["desc"]
    plan = (await client.ask("query-stop-plan", budget=101))["return"]
    assert (plan["needed"], plan["enough"]) == (201.0, False)
    assert plan["guests"] == [
        {"name": "web2", "need": 100.0, "share": 50.0, "latest": 50.0},
        {"name": "web1", "need": 100.0, "share": 50.0, "latest": 100.0},
    ]
    text = (await client.ask("query-stop-plan", budget=300, format="text"))["return"]
    assert (text["exit"], text["errors"]) == (0, "")
    assert text["text"].splitlines() == [
        "NAME  NEEDS  HAS FOR SURE  GONE",
        "web2  100 s  100.0 s       after 199.0 s",
        "web1  100 s  100.0 s       after 299.0 s",
        "300 s are enough: 201.0 s are needed at most",
    ]


async def test_a_start_of_what_is_due_leaves_the_others_alone(bench: Bench) -> None:
    client = await bench.client()
    outcomes = (await client.ask("guest-start", names=["*"], due=True))["return"]
    assert [one["message"] for one in outcomes] == ["start done after 0.1 s", *["running already"] * 2]
    assert [(name, verb) for name, verb, _ in bench.guests.asked] == [("db1", Verb.START)]
