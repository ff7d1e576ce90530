"""The console and the log at a terminal: the command runs on a pseudo-terminal, the test is the person at it."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from qsup.cli.log import Escaper
from tests.fakes.control_bench import Bench, running_bench
from tests.unit.test_cli_command import command, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass
class Terminal:
    """A terminal with the command at it."""

    master: int
    slave: int
    process: subprocess.Popen[bytes]
    before: list[Any]
    seen: bytes = b""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def run(cls, bench: Bench, *words: str) -> Terminal:
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        env = environment(QSUP_SOCKET=bench.path, TERM="xterm")
        process = subprocess.Popen(
            command(*words), env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        terminal = cls(master, slave, process, before)
        asyncio.get_running_loop().add_reader(master, terminal._read)
        return terminal

    def _read(self) -> None:
        self.seen += os.read(self.master, 65536)
        self.arrived.set()

    async def sees(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.seen:
                self.arrived.clear()
                await self.arrived.wait()

    def types(self, keys: bytes) -> None:
        os.write(self.master, keys)

    async def ends(self) -> int:
        return await asyncio.to_thread(self.process.wait, 20)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as bench:
        yield bench


async def typed(bench: Bench, count: int) -> bytes:
    """The next bytes that reach the guest."""
    keys = b""
    async with asyncio.timeout(20):
        while len(keys) < count:
            keys += await bench.guests.consoles["web1"].typed.get()
    return keys


async def test_a_console_passes_every_key_and_ctrl_bracket_leaves(bench: Bench) -> None:
    terminal = Terminal.run(bench, "console", "web1")
    try:
        await terminal.sees(b"web1: serial port console; Ctrl-] leaves")
        bench.guests.consoles["web1"].feed(b"login: \x1b[1m")
        await terminal.sees(b"login: \x1b[1m")
        assert not terminal.is_as_before()
        terminal.types(b"root\r\x03\x04\x1a")
        assert await typed(bench, 8) == b"root\r\x03\x04\x1a"
        terminal.types(b"\x1d")
        assert await terminal.ends() == 0
        await terminal.sees(b"left web1")
        assert terminal.is_as_before()
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_a_console_with_the_terminal_restored(
    bench: Bench, number: signal.Signals
) -> None:
    terminal = Terminal.run(bench, "console", "web1")
    try:
        async with asyncio.timeout(20):
            await bench.guests.consoles["web1"].attached.wait()
        bench.guests.consoles["web1"].feed(b"ready")
        await terminal.sees(b"ready")
        terminal.process.send_signal(number)
        assert await terminal.ends() == 128 + number
        assert terminal.is_as_before()
    finally:
        terminal.close()


async def test_the_daemon_going_away_ends_a_console_with_the_terminal_restored(bench: Bench) -> None:
    terminal = Terminal.run(bench, "console", "web1")
    try:
        await terminal.sees(b"Ctrl-] leaves")
        await bench.server.close()
        await terminal.sees(b"web1: the daemon ended the console")
        assert await terminal.ends() == 0
        assert terminal.is_as_before()
    finally:
        terminal.close()


async def test_a_read_only_console_types_nothing_but_can_be_left(bench: Bench) -> None:
    terminal = Terminal.run(bench, "console", "web1", "--read-only")
    try:
        await terminal.sees(b"(read-only); Ctrl-] leaves")
        terminal.types(b"ignored\x1d")
        assert await terminal.ends() == 0
        assert bench.guests.consoles["web1"].typed.empty()
    finally:
        terminal.close()


async def test_several_consoles_see_the_same(bench: Bench) -> None:
    terminals = [Terminal.run(bench, "console", "web1") for _ in range(3)]
    try:
        for terminal in terminals:
            await terminal.sees(b"Ctrl-] leaves")
        bench.guests.consoles["web1"].feed(b"for all of you")
        for terminal in terminals:
            await terminal.sees(b"for all of you")
    finally:
        for terminal in terminals:
            terminal.close()


async def test_a_console_works_in_pipes_and_goes_on_after_its_input_has_ended(bench: Bench) -> None:
    console = bench.guests.consoles["web1"]
    process = await asyncio.create_subprocess_exec(
        *command("console", "web1"),
        env=environment(QSUP_SOCKET=bench.path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"uptime\n\x1d")
    process.stdin.close()
    assert await typed(bench, 8) == b"uptime\n\x1d"
    console.feed(b"up 3 days\n")
    assert await process.stdout.readline() == b"up 3 days\n"
    console.feed(None)
    assert await process.wait() == 0


async def test_a_log_on_a_terminal_cannot_command_it(bench: Bench) -> None:
    bench.guests.consoles["web1"].log = b"evil \x1b]0;title\x07 \xc2\x9b31m\r\nnext\r\n"
    for words in (("log", "web1"), ("log", "-f", "web1")):
        terminal = Terminal.run(bench, *words)
        try:
            await terminal.sees(b"evil \\x1b]0;title\\x07 \\x9b31m\r\nnext\r\n")
            assert b"\x1b" not in terminal.seen
        finally:
            terminal.close()


async def test_list_is_coloured_on_a_terminal_unless_no_color_is_set(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal.run(bench, "list")
    try:
        await terminal.sees(b"\x1b[32mrunning\x1b[m")
        assert await terminal.ends() == 0
    finally:
        terminal.close()


def test_the_escaper_gives_the_same_however_the_stream_is_cut() -> None:
    stream = "ä\r\n\x1b[1m\rprogress\r".encode() + b"\xff\r\n"
    whole = Escaper()(stream)
    for cut in range(len(stream)):
        escaper = Escaper()
        assert escaper(stream[:cut]) + escaper(stream[cut:]) == whole
    assert whole == "ä\n\\x1b[1m\\x0dprogress\\x0d\\xff\n".encode()
