"""Every verb of the real command on the real daemon: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from qsup import __version__
from tests.fakes import fake_qemu
from tests.functional.harness import DEADLINE, IDLE, Site

QSUP = (sys.executable, "-c", "from qsup.cli import main; raise SystemExit(main())")
STRANGER = """
import locale, os, shutil
from qsup.cli import arguments, fast, full, main, output, reply
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
raise SystemExit(main())
"""
"""The command of somebody else. It imports first: the interpreter may lie where only root may read."""
CTRL_BRACKET = b"\x1d"


@pytest.fixture
async def here(empty: Site) -> AsyncIterator[Site]:
    """A site with the guests ``db``, ``web1`` and ``web2``; only ``web1`` runs."""
    for name in ("db", "web1", "web2"):
        empty.guest(name, f'description = "The guest {name}"\n' + IDLE)
    await empty.start()
    await empty.run("guest-start", name="web1")
    yield empty
    assert "Traceback" not in empty.log


async def json_of(here: Site, *words: str) -> Any:
    """What a verb prints with ``--json``, after it has succeeded."""
    status, out, err = await here.cli(*words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


# Facts


async def test_list_has_a_line_a_guest(here: Site) -> None:
    status, out, err = await here.cli("list")
    assert (status, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["NAME", "PHASE", "READY", "PID", "UPTIME", "RESTARTS", "REASON"]
    assert [line.split()[:3] for line in lines] == [
        ["db", "stopped", "no"], ["web1", "running", "yes"], ["web2", "stopped", "no"],
    ]  # fmt: skip
    assert "\x1b" not in out, "colour only on a terminal"
    assert len((await here.cli("list", "web*"))[1].splitlines()) == 3


async def test_list_as_json_has_a_stable_core(here: Site) -> None:
    guests = await json_of(here, "list")
    assert [guest["name"] for guest in guests] == ["db", "web1", "web2"]
    core = ["name", "phase", "ready", "pid", "wanted", "cause", "restarts", "since"]
    for guest in guests:
        assert list(guest)[: len(core)] == core
        assert datetime.fromisoformat(guest["since"]).tzinfo is not None
    assert guests[1]["pid"] == (await here.view("web1"))["pid"]
    assert [guest["name"] for guest in await json_of(here, "list", "web?")] == ["web1", "web2"]
    assert (await here.cli("list", "--json", "nothing*"))[:2] == (3, "")


async def test_status_and_why_tell_of_each_guest_that_is_meant(here: Site) -> None:
    status, out, err = await here.cli("status", "web*")
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "web1 - The guest web1", "", "web2 - The guest web2",
    ]  # fmt: skip
    (guest,) = await json_of(here, "status", "web1")
    assert guest == await here.view("web1")
    status, out, err = await here.cli("why", "web1")
    assert (status, err) == (0, "")
    assert out.startswith("web1 is running and ready since ")
    (why,) = await json_of(here, "why", "web1")
    assert why["phase"] == "running"
    assert out.splitlines()[1:] == why["sentences"][1:]


async def test_argv_qmp_and_version_answer(here: Site, qemu_binary: str) -> None:
    status, out, _ = await here.cli("argv", "web1")
    assert status == 0
    assert out.startswith(f"{qemu_binary} \\\n  -")
    status, out, _ = await here.cli("argv", "web1", "--why")
    assert re.search(r"  # \[memory\] guests/web1\.toml:\d+\n    -m size=", out), out
    assert "  # qsup itself\n    -no-user-config\n" in out
    line = await json_of(here, "argv", "web1")
    assert (line["binary"], line["accel"]) == (qemu_binary, "tcg")
    assert line["argv"][0] == qemu_binary
    assert (await json_of(here, "qmp", "web1", "query-status"))["status"] == "running"
    properties = await json_of(here, "qmp", "web1", "qom-list", '{"path": "/machine"}')
    assert {"name", "type"} <= properties[0].keys()
    status, out, err = await here.cli("qmp", "web1", "no-such-command")
    assert (status, out) == (1, "")
    assert "no-such-command has not been found" in err
    assert (await here.cli("qmp", "web1", "qom-list", "{path"))[0] == 2
    assert (await here.cli("qmp", "web2", "query-status"))[0] == 1
    versions = await json_of(here, "version")
    assert versions["command"] == versions["daemon"]["version"] == __version__
    assert (await here.cli("version"))[1].startswith(f"qsup {__version__}\n")


async def test_check_needs_no_daemon(here: Site) -> None:
    config = ("--config", str(here.config))
    assert await here.cli("check", *config) == (0, "3 guests, 0 problems\n", "")
    bad = here.guest("bad", "[memroy]\n")
    await here.leave()
    status, out, err = await here.cli("check", *config)
    assert (status, err) == (1, "")
    assert "bad.toml:1: memroy: unknown key" in out
    assert (await here.cli("check", str(here.config / "guests/db.toml")))[0] == 0
    assert (await here.cli("check", str(bad)))[0] == 1
    assert (await here.cli("check", "--config", "/nonexistent"))[0] == 2


# Deeds


async def test_verbs_take_names_globs_and_all_and_say_what_became_of_each(here: Site) -> None:
    assert (await here.cli("start", "web*", "db"))[0] == 0
    assert {guest["phase"] for guest in await here.run("query-guests")} == {"running"}
    assert (await here.cli("pause", "web[12]"))[0] == 0
    assert (await here.view("web2"))["phase"] == "paused"
    assert await here.cli("resume", "--all") == (0, "db: running\nweb1: running\nweb2: running\n", "")
    assert (await here.cli("stop", "web1", "web2"))[0] == 0
    status, out, err = await here.cli("reset", "--all")
    assert (status, out) == (1, "db: running\n")
    assert [line.split(": ")[1] for line in err.splitlines()] == ["web1", "web2"]
    outcomes = await json_of(here, "stop", "db")
    assert outcomes == [
        {
            "name": "db",
            "done": True,
            "message": outcomes[0]["message"],
            "error": None,
            "exit": 0,
            "cut-short": False,
        }
    ]
    assert outcomes[0]["message"].startswith("stopped by quit")
    status, out, _ = await here.cli("pause", "--json", "--all")
    assert status == 1
    assert {(outcome["done"], outcome["error"]) for outcome in json.loads(out)} == {(False, "Refused")}


async def test_no_wait_returns_at_once_and_timeout_leaves_with_6(here: Site, tmp_path: Path) -> None:
    binary = fake_qemu.install(tmp_path, "silent")
    here.guest("slow", IDLE + f'[qemu]\nbinary = "{binary}"\nstart-timeout = "1 h"\n')
    await here.run("reload-config")
    status, out, _ = await here.cli("start", "--no-wait", "slow")
    assert (status, out.startswith("slow: ")) == (0, True)
    assert (await here.view("slow"))["phase"] == "starting"
    status, out, err = await here.cli("start", "--timeout", "100ms", "slow")
    assert (status, out) == (6, "")
    assert "slow: start not done within 0.1 s; it may still happen" in err
    assert (await here.view("slow"))["phase"] == "starting", "the deed goes on"
    assert (await here.cli("kill", "slow"))[0] == 0


@pytest.mark.parametrize("verb", ["list", "status", "why", "start", "stop", "events", "version", "reload"])
async def test_without_a_daemon_every_verb_leaves_with_4(verb: str, tmp_path: Path, empty: Site) -> None:
    words = [verb, "web1"] if verb in ("start", "stop") else [verb]
    status, _, err = await empty.cli(*words)
    assert status == 4
    assert str(empty.socket) in err
    assert "Traceback" not in err


async def test_usage_leaves_with_2_and_an_unknown_guest_with_3(here: Site) -> None:
    for words in ((), ("dance",), ("start",), ("start", "--all", "db"), ("list", "--colour"), ("console",)):
        status, _, err = await here.cli(*words)
        assert status == 2, words
        assert err.startswith("usage: "), words
    for words in (
        ("status", "nobody"),
        ("start", "nobody"),
        ("stop", "x*"),
        ("argv", "nobody"),
        ("log", "no"),
    ):
        status, out, err = await here.cli(*words)
        assert (status, out) == (3, ""), words
        assert err.startswith("qsup: "), words
    status, _, _ = await here.cli("start", "db", "nobody")
    assert status == 3
    assert (await here.view("db"))["phase"] == "stopped", "nothing is done if one of the names is wrong"


@pytest.mark.parametrize("mode", [0o600, 0o666])
async def test_a_stranger_leaves_with_5_whether_or_not_the_socket_can_be_opened(
    mode: int, here: Site
) -> None:
    if os.geteuid() != 0:
        pytest.skip("to be somebody else needs root")
    here.socket.chmod(mode)
    for directory in (here.runtime, *here.runtime.parents[:4]):
        directory.chmod(directory.stat().st_mode | 0o011)
    for words in (("list",), ("kill", "web1"), ("list", "--json")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, *words, env={**os.environ, "QSUP_SOCKET": str(here.socket)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert (process.returncode, out) == (5, b""), err
        assert b"qsup: " in err
    assert (await here.view("web1"))["phase"] == "running"


# What happens


class Following:
    """A command that goes on: its lines, as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def until(self, text: bytes) -> bytes:
        """Everything up to the line with this text."""
        assert self.process.stdout is not None
        seen = b""
        async with asyncio.timeout(DEADLINE):
            while text not in seen:
                line = await self.process.stdout.readline()
                assert line, seen
                seen += line
        return seen


@contextlib.asynccontextmanager
async def following(here: Site, *words: str) -> AsyncIterator[Following]:
    process = await asyncio.create_subprocess_exec(
        *QSUP, *words, env={**os.environ, "QSUP_SOCKET": str(here.socket)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Following(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def test_events_are_told_afterwards_and_as_they_happen(here: Site) -> None:
    status, out, _ = await here.cli("events", "web1")
    assert status == 0
    assert [line.split("GUEST_PHASE  ")[1].split(" (was")[0] for line in out.splitlines() if "PHASE" in line] == [
        "starting", "running",
    ]  # fmt: skip
    _, out, _ = await here.cli("events", "--json")
    for line in out.splitlines():
        event = json.loads(line)
        assert event.keys() == {"event", "data", "timestamp", "seq"}
    async with following(here, "events", "--follow", "--json", "--since", "1h", "web*") as follower:
        # What has been is shown first: then the command listens.
        await follower.until(b'"phase": "running"')
        await here.run("guest-start", name="db")
        await here.run("guest-pause", name="web1")
        event = json.loads((await follower.until(b"paused")).splitlines()[-1])
        assert (event["event"], event["data"]["name"]) == ("GUEST_PHASE", "web1")


async def test_a_follower_whose_daemon_goes_ends_and_says_so(here: Site) -> None:
    async with following(here, "events", "--follow", "--since", "1h") as follower:
        await follower.until(b"running")
        await here.leave()
        async with asyncio.timeout(DEADLINE):
            assert await follower.process.wait() == 4


async def test_log_shows_the_end_and_follows(beating: Site) -> None:
    await beating.prints("heart", "beat 2")
    status, out, err = await beating.cli("log", "heart")
    assert (status, err) == (0, "")
    assert "beat 1" in out
    assert len((await beating.cli("log", "--lines", "1", "heart"))[1].splitlines()) == 1
    assert "beat" in (await json_of(beating, "log", "heart"))["text"]
    assert (await beating.cli("log", "--stderr", "heart"))[0] == 0
    assert (await beating.cli("log", "--serial", "nothing", "heart"))[0] == 1
    async with following(beating, "log", "--follow", "heart") as follower:
        await follower.until(b"beat 1")
        await follower.until(b"beat 4")


# The console


class Terminal:
    """``qsup console`` on a pseudo-terminal."""

    def __init__(self, here: Site, *words: str) -> None:
        self.keyboard, screen = pty.openpty()
        self.before = termios.tcgetattr(screen)
        self.screen = screen
        self.process = subprocess.Popen(
            [*QSUP, "console", *words], env={**os.environ, "QSUP_SOCKET": str(here.socket)},
            stdin=screen, stdout=screen, stderr=screen,
        )  # fmt: skip
        self.seen = b""
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.keyboard, self._read)

    def _read(self) -> None:
        self.seen += os.read(self.keyboard, 65536)
        self._arrived.set()

    async def shows(self, text: bytes, times: int = 1) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.seen.count(text) < times:
                self._arrived.clear()
                await self._arrived.wait()

    def types(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    @property
    def is_raw(self) -> bool:
        return termios.tcgetattr(self.screen) != self.before

    async def leave(self) -> int:
        self.types(CTRL_BRACKET)
        return await asyncio.to_thread(self.process.wait, DEADLINE)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.keyboard)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.keyboard)
        os.close(self.screen)


async def test_two_at_the_console_see_the_same_and_both_type(beating: Site) -> None:
    with contextlib.ExitStack() as terminals:
        one, two = Terminal(beating, "heart"), Terminal(beating, "heart")
        terminals.callback(one.close)
        terminals.callback(two.close)
        for terminal in (one, two):
            await terminal.shows(b"heart: serial port console; Ctrl-] leaves")
            await terminal.shows(b"beat ")
            assert terminal.is_raw
        one.types(b"i")
        await one.shows(b"ignoring")
        await two.shows(b"ignoring")
        assert await one.leave() == 0
        await one.shows(b"left heart")
        assert not one.is_raw, "the terminal is as it was before"
        two.types(b"r")
        await two.shows(b"heartbeat:")
        beats = two.seen.count(b"beat 1")
        await two.shows(b"beat 1", times=beats + 1)
        assert await two.leave() == 0
        assert not two.is_raw
    assert (await beating.view("heart"))["phase"] == "running"


async def test_a_read_only_console_types_nothing(beating: Site) -> None:
    with contextlib.closing(Terminal(beating, "--read-only", "heart")) as terminal:
        await terminal.shows(b"(read-only)")
        await terminal.shows(b"beat ")
        terminal.types(b"p")
        beats = terminal.seen.count(b"beat ")
        await terminal.shows(b"beat ", times=beats + 2)
        assert await terminal.leave() == 0
    assert (await beating.view("heart"))["phase"] == "running"


async def test_a_console_stays_through_a_restart_and_ends_with_the_daemon(beating: Site) -> None:
    with contextlib.closing(Terminal(beating, "heart")) as terminal:
        await terminal.shows(b"beat 1")
        beats = terminal.seen.count(b"beat 1")
        await beating.run("guest-restart", name="heart")
        await terminal.shows(b"beat 1", times=beats + 1)
        await beating.leave()
        await terminal.shows(b"the daemon ended the console")
        assert await asyncio.to_thread(terminal.process.wait, DEADLINE) == 0
        assert not terminal.is_raw


async def test_a_console_through_pipes_shows_what_the_guest_prints(beating: Site) -> None:
    async with following(beating, "console", "heart") as follower:
        await follower.until(b"beat")
    status, out, err = await beating.cli("console", "heart", "--serial", "nothing")
    assert (status, out) == (1, "")
    assert "heart has no serial port nothing; it has console" in err
