"""A real qsupd on directories of its own, driven over its control socket with qemu.qmp, the client of QEMU's project.

Nothing here sleeps: every wait is for an event of the daemon, for a process's end, or for a line of output, and has
a deadline that only a failure reaches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient

from qsup.guest.grants import Grants
from tests.fakes.manager import Manager

DEADLINE = 60.0

HEARTBEAT = """
[machine]
accel = "tcg"
[memory]
size = "32 MiB"
[disk.root]
file = "{image}"
format = "raw"
read-only = true
[boot]
order = ["root"]
[serial.console]
[panic]
enabled = true
[qemu]
args = ["-device", "isa-debug-exit"]
"""
"""The heartbeat guest; `[restart]` and `[stop]` may follow."""

IDLE = """
[machine]
accel = "tcg"
[memory]
size = "16 MiB"
[stop]
methods = []
"""
"""A machine with nothing to boot from, and so with nothing to ask for a stop."""


def under_kvm(text: str) -> str:
    """The file of a guest under TCG, under KVM; with a CPU that every KVM can give."""
    return text.replace('accel = "tcg"\n', 'accel = "kvm"\n[cpu]\nmodel = "qemu64"\n')


class Site:
    """The directories of a daemon, and the daemon that works in them now."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config"
        self.runtime = root / "run"
        self.state = root / "state"
        (self.config / "guests").mkdir(parents=True)
        self.manager: Manager | None = None
        """A service manager that the daemon speaks to, if there is one."""
        self.process: asyncio.subprocess.Process | None = None
        self.client = QMPClient("test")
        self.output: list[str] = []
        self._reader: asyncio.Task[None] | None = None
        self._heard = asyncio.Condition()

    @property
    def socket(self) -> Path:
        return self.runtime / "control.sock"

    def guest(self, name: str, text: str, **values: object) -> Path:
        """Write a guest's file, at once and whole."""
        path = self.config / "guests" / f"{name}.toml"
        temporary = path.with_suffix(".new")
        temporary.write_text(text.format(**values) if values else text)
        temporary.replace(path)
        return path

    async def start(self, *, development: bool = True, pass_fds: tuple[int, ...] = ()) -> None:
        """Start the daemon, in Python's development mode unless speed matters; wait until it is ready, and connect."""
        mode = ("-X", "dev") if development else ()
        environment = dict(os.environ)
        before: tuple[str, ...] = ()
        if self.manager is not None:
            environment |= self.manager.environment
            before, pass_fds = self.manager.command(sys.executable), (*pass_fds, *self.manager.fds)
        self.output = []
        self.process = await asyncio.create_subprocess_exec(
            *before, sys.executable, *mode, "-m", "qsup.daemon",
            "--config", str(self.config), "--runtime-dir", str(self.runtime), "--state-dir", str(self.state),
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, pass_fds=pass_fds, env=environment,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        await self.said("is ready")
        self.client = await self.connect()

    async def connect(self) -> QMPClient:
        """One more client of the control socket."""
        client = QMPClient("test")
        await client.connect(str(self.socket))
        return client

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._heard:
                self.output.append(line.decode())
                self._heard.notify_all()

    async def said(self, text: str) -> str:
        """Wait until the daemon has written a line with this text."""
        async with asyncio.timeout(DEADLINE), self._heard:
            while True:
                for line in self.output:
                    if text in line:
                        return line
                assert self.process is not None
                assert self.process.returncode is None or self._reader is None or not self._reader.done(), (
                    self.log
                )
                await self._heard.wait()

    @property
    def log(self) -> str:
        return "".join(self.output)

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def leave(self) -> int:
        """SIGTERM, the documented way out; returns the exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> int:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE):
            status = await self.process.wait()
        with contextlib.suppress(Exception):
            await self.client.disconnect()
        if self._reader is not None:
            await self._reader
        return status

    async def run(self, command_: str, **arguments: Any) -> Any:
        """Execute a command on the control socket."""
        async with asyncio.timeout(DEADLINE):
            return await self.client.execute(
                command_, {key.replace("_", "-"): v for key, v in arguments.items()}
            )

    async def view(self, name: str) -> dict[str, Any]:
        """The facts of a guest."""
        view = await self.run("query-guest", name=name)
        assert isinstance(view, dict)
        return view

    async def until(self, name: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a guest's facts satisfy the condition; they are looked at after each event."""
        listener = EventListener()
        with self.client.listen(listener):
            async with asyncio.timeout(DEADLINE):
                while not reached(view := await self.view(name)):
                    await listener.get()
        return view

    async def phase(self, name: str, *phases: str) -> dict[str, Any]:
        """Wait until a guest is in one of the phases."""
        return await self.until(name, lambda view: view["phase"] in phases)

    async def types(self, name: str, keys: str) -> None:
        """Type into the guest's console."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(b'{"execute": "qmp_capabilities"}\n')
        writer.write(b'{"execute": "guest-console", "arguments": {"name": "%s"}}\n' % name.encode())
        # Events come as well, until the line is the console's.
        while b'"read-only"' not in await reader.readline():
            pass
        writer.write(keys.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def printed(self, name: str) -> str:
        """All that the guest has printed, over all its runs."""
        path = self.state / "guests" / name / "serial-console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def prints(self, name: str, text: str, times: int = 1, within: float = DEADLINE) -> None:
        """Wait until the guest's console log holds a text so many times."""
        async with asyncio.timeout(within):
            while self.printed(name).count(text) < times:
                # The log is a file, whose growth no event announces.
                await asyncio.sleep(0.02)

    async def cli(self, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run the ``qsup`` command; exit status, output, errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from qsup.cli import main; raise SystemExit(main())", *words,
            env={**os.environ, "QSUP_SOCKET": str(self.socket)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def site(root: Path) -> AsyncIterator[Site]:
    """A site whose daemon and QEMUs are gone afterwards, whatever the test did."""
    made = Site(root)
    try:
        yield made
    finally:
        if made.process is not None and made.process.returncode is None:
            await made.kill()
        await end_qemus(root)
        take_back(made.state, made.runtime)


def take_back(*directories: Path) -> None:
    """What QEMUs of other users were given by a daemon that was killed: devices of the host are among it."""
    grants = Grants(*(directory / "guests" for directory in directories))
    for name in grants.guests():
        grants.take_back(name)


async def end_qemus(root: Path) -> None:
    """Kill every QEMU whose lock lies below the root, and wait for its end."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _lies_below(entry / "fd/3", root):
            with contextlib.suppress(ProcessLookupError):
                await killed(int(entry.name))


def _lies_below(link: Path, root: Path) -> bool:
    try:
        return str(link.readlink()).startswith(f"{root}/")
    except OSError:
        return False


@contextlib.asynccontextmanager
async def ending(pid: int) -> AsyncIterator[int]:
    """Do within it what ends a process, whose pidfd it gives; it waits for the end."""
    pidfd = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(None))
    try:
        yield pidfd
        async with asyncio.timeout(DEADLINE):
            await ended
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def killed(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal that ends a process, and wait until it has ended."""
    async with ending(pid) as pidfd:
        signal.pidfd_send_signal(pidfd, number)


def alive(pid: int) -> bool:
    """Whether a process with this pid runs."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
