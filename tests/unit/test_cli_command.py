"""The ``qsup`` command itself, run as a process against a control server in the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.cli import fast
from qsup.control.protocol import encode_return
from qsup.control.results import Text
from qsup.errors import QmpRefused, QsupError, Refused
from qsup.events import Kind
from qsup.paths import default_paths
from qsup.phase import Verb
from tests.fakes.control_bench import Bench, running_bench
from tests.fakes.fake_supervisor import FakeReload, panicked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


@dataclass
class Run:
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
        **more,
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "qsup.cli", *words]


def run(*words: str, **more: str) -> Run:
    """Run the command to its end."""
    done = subprocess.run(
        command(*words),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    return Run(done.returncode, done.stdout, done.stderr)


@dataclass
class Daemon:
    """A server to run the command against."""

    bench: Bench

    async def qsup(self, *words: str, **more: str) -> Run:
        # The server runs in this loop, so the command is waited for in a thread.
        return await asyncio.to_thread(run, *words, QSUP_SOCKET=self.bench.path, **more)

    async def process(self, *words: str) -> asyncio.subprocess.Process:
        """The command while it runs."""
        return await asyncio.create_subprocess_exec(
            *command(*words),
            env=environment(QSUP_SOCKET=self.bench.path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running_bench(tmp_path) as bench:
        yield Daemon(bench)


async def test_list_is_an_aligned_table_without_colour_in_a_pipe(daemon: Daemon) -> None:
    shown = await daemon.qsup("list")
    header, db1, web1, web2 = shown.out.splitlines()
    assert (shown.code, shown.err) == (0, "")
    assert header.split() == ["NAME", "PHASE", "READY", "PID", "UPTIME", "RESTARTS", "REASON"]
    assert db1.split()[:4] == ["db1", "stopped", "no", "-"]
    assert web1.index("running") == web2.index("running") == header.index("PHASE")


async def test_list_as_json_has_the_promised_keys_of_each_guest(daemon: Daemon) -> None:
    for words in (("list", "--json"), ("--json", "list"), ("list", "--json", "web*", "db1")):
        listed = json.loads((await daemon.qsup(*words)).out)
        assert [guest["name"] for guest in listed] == ["db1", "web1", "web2"]
        promised = {"name", "phase", "ready", "pid", "wanted", "cause", "restarts", "since"}
        assert all(promised <= guest.keys() for guest in listed)
    assert listed[1]["pid"] == 4711
    assert listed[1]["since"].startswith("20")


async def test_a_test_of_an_alert_is_told_way_by_way(daemon: Daemon) -> None:
    tested = await daemon.qsup("alert", "test", "ops", "--guest", "web1")
    assert (tested.code, tested.out) == (1, "command to /usr/local/bin/page: delivered: web1, running\n")
    assert tested.err == "qsup: webhook to https://example.org: it answered 500 \\x1b[31mOops\n"
    facts = json.loads((await daemon.qsup("alert", "test", "ops", "--json")).out)
    assert [(one["way"], one["done"]) for one in facts["deliveries"]] == [
        ("command", True),
        ("webhook", False),
    ]
    assert (await daemon.qsup("alert", "test", "nope")).code == 2
    assert (await daemon.qsup("alert", "test", "ops", "--guest", "nope")).code == 3
    assert (await daemon.qsup("alert", "ops")).code == 2


async def test_the_quick_and_the_full_path_show_the_same(daemon: Daemon) -> None:
    for verb in ("list", "status"):
        quick = await daemon.qsup(verb, "web?", "db1")
        full = await daemon.qsup(verb, "--socket", daemon.bench.path, "web?", "db1")
        assert quick.out.split("for")[0] == full.out.split("for")[0]
        assert quick.code == full.code == 0
    assert await daemon.qsup("stop", "web1") == await daemon.qsup("stop", "web1", "--wait")


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reset", "kill", "pause", "resume"])
async def test_a_verb_is_done_to_the_guests_that_are_named(daemon: Daemon, verb: str) -> None:
    done = await daemon.qsup(verb, "web1")
    assert done == Run(0, f"web1: {verb} done after 0.1 s\n", "")
    done = await daemon.qsup(verb, "--all")
    assert done.out == "".join(f"{name}: {verb} done after 0.1 s\n" for name in ("db1", "web1", "web2"))
    asked = [(name, asked_verb) for name, asked_verb, _ in daemon.bench.guests.asked]
    assert asked[0] == ("web1", Verb(verb))
    assert sorted(asked[1:]) == [(name, Verb(verb)) for name in ("db1", "web1", "web2")]


async def test_one_failure_among_several_is_told_and_makes_the_exit_code(daemon: Daemon) -> None:
    daemon.bench.guests.failures = {"web1": Refused("web1: it is stopped; there is nothing to pause")}
    done = await daemon.qsup("pause", "web*")
    assert done == Run(
        1, "web2: pause done after 0.1 s\n", "qsup: web1: it is stopped; there is nothing to pause\n"
    )
    done = await daemon.qsup("pause", "web*", "--json")
    assert [(outcome["name"], outcome["done"]) for outcome in json.loads(done.out)] == [
        ("web1", False),
        ("web2", True),
    ]
    assert done.code == 1


@pytest.mark.parametrize(
    "words", [("start", "nope"), ("start", "web1", "x*"), ("list", "nope"), ("log", "nope")]
)
async def test_a_guest_that_does_not_exist_is_exit_code_3_and_nothing_is_done(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    done = await daemon.qsup(*words)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("qsup: ")
    assert "`qsup list` shows" in done.err
    assert daemon.bench.guests.asked == []


async def test_a_deadline_is_exit_code_6_and_says_that_it_may_still_happen(daemon: Daemon) -> None:
    daemon.bench.guests.held = {"web1"}
    done = await daemon.qsup("stop", "web1", "--timeout", "10ms")
    assert done.code == 6
    assert "web1: stop not done within 0.01 s; it may still happen" in done.err
    assert await daemon.qsup("stop", "web1", "--no-wait") == Run(0, "web1: stop accepted\n", "")


async def test_ctrl_c_is_exit_code_130_without_a_word(daemon: Daemon) -> None:
    daemon.bench.guests.held = {"web1"}
    for words in (("stop", "web1"), ("stop", "web1", "--wait")):
        process = await daemon.process(*words)
        await daemon.bench.guests.waiting.wait()
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 130
        daemon.bench.guests.waiting.clear()


def test_no_daemon_is_exit_code_4_with_the_socket_and_how_to_start_one(tmp_path: Path) -> None:
    missing = str(tmp_path / "control.sock")
    for words in (("list",), ("start", "web1"), ("list", "--json"), ("events", "--follow")):
        done = run(*words, QSUP_SOCKET=missing)
        assert done.code == 4
        assert missing in done.err
        assert "start it with" in done.err
        assert done.err.count("\n") == 1
    assert run("list", "--socket", missing, QSUP_SOCKET="/elsewhere").err.count(missing) == 1
    done = run("version", QSUP_SOCKET=missing)
    assert (done.code, done.out.split()[0]) == (4, "qsup")


def test_a_dead_socket_is_exit_code_4(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert run("list", QSUP_SOCKET=path).code == 4


def test_a_daemon_that_goes_away_after_it_was_asked_is_not_asked_again(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(
            command("start", "web1"), env=environment(QSUP_SOCKET=path), stderr=subprocess.PIPE, text=True
        )
        listener.settimeout(20)
        connection, _ = listener.accept()
        connection.sendall(b'{"QMP": {}}\r\n{"return":{}}\r\n')
        assert b"guest-start" in connection.recv(65536)
        connection.close()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 4
        assert "went away before it answered; what was asked may still happen" in err
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_what_is_no_daemon_is_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(
            command("list", "--json"), env=environment(QSUP_SOCKET=path), stderr=subprocess.PIPE, text=True
        )
        listener.settimeout(20)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            _, err = process.communicate(timeout=20)
        assert process.returncode == 4
        assert "is not qsupd" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_socket_of_somebody_else_is_exit_code_5(daemon: Daemon) -> None:
    # All is imported beforehand: the checkout need not be readable for others.
    program = (
        "import locale, os, shutil, sys, qsup.cli.full; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        "sys.argv = ['qsup', 'list']; sys.exit(qsup.cli.main())"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env=environment(QSUP_SOCKET=daemon.bench.path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 5
    assert f"not allowed to use {daemon.bench.path}" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("frobnicate",),
        ("stop",),
        ("stop", "web1", "--all"),
        ("stop", "web1", "--timeout", "soon"),
        ("log",),
        ("log", "web1", "--lines", "-1"),
        ("qmp", "web1", "query-status", "[1]"),
        ("qmp", "web1", "query-status", "{"),
        ("console", "web1", "--json"),
        ("log", "web1", "--follow", "--stderr"),
        ("list", "--no-such-option"),
    ],
)
async def test_nonsense_is_exit_code_2(daemon: Daemon, words: tuple[str, ...]) -> None:
    done = await daemon.qsup(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err


async def test_help_and_version_need_no_daemon() -> None:
    assert "exit codes" in run("--help").out
    assert "--timeout" in run("stop", "--help").out
    assert run("--version").out.startswith("qsup ")


async def test_a_reader_that_has_seen_enough_hears_no_complaint(daemon: Daemon) -> None:
    def into_a_closed_pipe(*words: str) -> subprocess.CompletedProcess[bytes]:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            env = environment(QSUP_SOCKET=daemon.bench.path)
            return subprocess.run(
                command(*words), env=env, stdout=writing, stderr=subprocess.PIPE, timeout=30
            )
        finally:
            os.close(writing)

    for words in (("list",), ("list", "--json"), ("log", "web1", "-f")):
        daemon.bench.guests.consoles["web1"].log = b"a line\n"
        done = await asyncio.to_thread(into_a_closed_pipe, *words)
        assert (done.returncode, done.stderr) == (141, b"")


async def test_why_escapes_what_a_guest_could_have_written(daemon: Daemon) -> None:
    daemon.bench.guests.views["bad"] = panicked("bad")
    told = (await daemon.qsup("why", "bad")).out
    assert "\x1b" not in told
    assert "\\x1b]0;owned\\x07" in told
    assert "guest-panic" in told
    assert "restart.limit 5 within 10 min: give up" in told
    assert "There is no next try until `qsup start bad`." in told


async def test_events_are_shown_and_followed(daemon: Daemon) -> None:
    bus = daemon.bench.guests.bus
    bus.publish(Kind.PHASE, name="web1", phase="running", was="starting", ready=True, reason="it \x1b runs")
    bus.publish(Kind.NOTICE, name="web2", message="hello")
    shown = (await daemon.qsup("events", "web1")).out
    assert shown.endswith("  web1  GUEST_PHASE  running (was starting): it \\x1b runs\n")
    lines = (await daemon.qsup("events", "--json")).out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["GUEST_PHASE", "GUEST_NOTICE"]
    follower = await daemon.process("events", "--follow", "--since", "1h", "web2")
    assert follower.stdout is not None
    assert (await follower.stdout.readline()).endswith(b"hello\n")
    bus.publish(Kind.NOTICE, name="web1", message="not asked for")
    bus.publish(Kind.NOTICE, name="web2", message="more")
    assert (await follower.stdout.readline()).endswith(b"more\n")
    follower.send_signal(signal.SIGINT)
    assert await follower.wait() == 130


async def test_log_shows_the_serial_port_or_qemus_own_words(daemon: Daemon) -> None:
    daemon.bench.guests.consoles["web1"].log = b"one\r\ntwo\r\n\xffthree"
    assert (await daemon.qsup("log", "web1", "--lines", "2")).out == "two\n\ufffdthree"
    assert (await daemon.qsup("log", "web1", "--stderr")).out == "qemu-system-x86_64: warning\n"
    assert json.loads((await daemon.qsup("log", "web1", "--json")).out)["text"].startswith("one\r\n")
    assert (await daemon.qsup("log", "web1", "--serial", "nope")).code == 1


async def test_log_follows_until_the_daemon_ends_it(daemon: Daemon) -> None:
    console = daemon.bench.guests.consoles["web1"]
    console.log = b"old\nnew\n"
    follower = await daemon.process("log", "-f", "--lines", "1", "web1")
    assert follower.stdout is not None
    assert await follower.stdout.readline() == b"new\n"
    console.feed(b"raw \x1b\xff\n")
    assert await follower.stdout.readline() == b"raw \x1b\xff\n"
    console.feed(None)
    assert await follower.wait() == 0


async def test_argv_qmp_reload_and_version_answer_what_the_daemon_says(daemon: Daemon) -> None:
    guests = daemon.bench.guests
    first = "PIPEWIRE_REMOTE='/run/my pipewire-0' /usr/bin/qemu-system-x86_64"
    expected = f"{first} \\\n  -name guest=web1 \\\n  -S \\\n  -append 'quiet splash'\n"
    assert (await daemon.qsup("argv", "web1")).out == expected
    assert (await daemon.qsup("argv", "web1", "--why")).out == (
        f"{first}\n  # qsup itself\n    -name guest=web1\n    -S\n"
        "  # [boot] guests/web1.toml:1\n    -append 'quiet splash'\n"
    )
    assert json.loads((await daemon.qsup("qmp", "web1", "query-status")).out) == {"status": "running"}
    await daemon.qsup("qmp", "web1", "device_del", '{"id": "x"}')
    assert guests.qmp_calls[-1] == ("web1", "device_del", {"id": "x"})
    guests.failures = {"web1": QmpRefused("Device 'x' not found", "DeviceNotFound")}
    assert await daemon.qsup("qmp", "web1", "device_del") == Run(1, "", "qsup: Device 'x' not found\n")
    assert await daemon.qsup("reload") == Run(0, "added: web3\n", "")
    guests.reloaded = FakeReload(added=(), problems=("guests/x.toml:1: no",))
    assert await daemon.qsup("reload") == Run(1, "nothing changed\n", "qsup: guests/x.toml:1: no\n")
    assert "  python: 3.11\n" in (await daemon.qsup("version")).out
    assert json.loads((await daemon.qsup("version", "--json")).out)["daemon"]["version"] == "0.1.0"


async def test_an_error_of_the_daemon_is_one_line_and_exit_code_1(daemon: Daemon) -> None:
    daemon.bench.guests.failures = {"web1": QsupError("web1: no space left\non the state directory")}
    done = await daemon.qsup("start", "web1")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err


def test_the_quick_path_imports_next_to_nothing() -> None:
    program = (
        "import os, sys; before = set(sys.modules); from qsup.cli import fast; fast.request_for(['list']); "
        """assert fast.plain_text(b'{"return":{"exit":0,"text":"a\\\\n","errors":""}}') == "a\\n"; """
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    imported = set(done.stdout.split())
    assert imported == {"qsup", "qsup.cli", "qsup.cli.fast", "qsup.cli.verbs", "_socket", "_json"}


def test_the_quick_paths_default_socket_is_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QSUP_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    for uid in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert fast.socket_path() == str(default_paths().control_socket)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert fast.socket_path() is None


@pytest.mark.parametrize(
    "words", [["list", "a b"], ["list", 'a"'], ["list", ""], ["list", "--x"], ["stop"], ["x"], []]
)
def test_the_quick_path_leaves_what_it_does_not_know_to_the_full_one(words: list[str]) -> None:
    assert fast.request_for(words) is None


@given(st.text())
def test_the_quick_path_reads_any_text_as_json_would(text: str) -> None:
    answer = encode_return(Text(exit=0, text=text)).rstrip()
    assert fast.plain_text(answer) == text
    assert fast.plain_text(encode_return(Text(exit=1, text=text))) is None
    assert fast.plain_text(encode_return(Text(exit=0, text=text, errors="x"))) is None
