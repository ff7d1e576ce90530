"""Where a storm takes place: directories, the daemon that works in them now, and a client that hears all it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.message import Message

from tests.chaos import fleet, points
from tests.chaos.board import Board
from tests.chaos.fleet import Guest
from tests.chaos.room import Room
from tests.functional.harness import take_back

DEADLINE = 30.0
"""Seconds for anything that only a failure lets take so long."""
CONFIG = """
qemu-binary = "{qemu}"
[crashes]
per-guest = 2
size = "8 MiB"
[history]
events = 20000
"""


class Life:
    """One daemon."""

    def __init__(self, pid: int, reports: socket.socket) -> None:
        self.pid = pid
        self.log: list[str] = []
        self.settled = asyncio.Event()
        """It is ready, or has ended."""
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """How it has ended, once it has: an exit status, or minus a signal."""
        self.reports = reports

    @property
    def ended(self) -> bool:
        return self.status.done()

    async def over(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(DEADLINE):
            return await asyncio.shield(self.status)

    async def report(self) -> dict[str, Any]:
        """What it tells of its inside."""
        os.kill(self.pid, signal.SIGUSR1)
        async with asyncio.timeout(DEADLINE):
            answer = await asyncio.get_running_loop().sock_recv(self.reports, 1 << 16)
        report = json.loads(answer)
        assert isinstance(report, dict)
        return report


class Stage:
    """``begin`` and ``end`` daemons; ``run`` what they take."""

    def __init__(self, root: Path, qemu: str, guests: list[Guest], *, has_spawner: bool) -> None:
        self.root = root
        self.spawner_socket = root / "spawn.sock" if has_spawner else None
        """Where the daemons' processes are started, if they do not do so themselves."""
        self.spawner = 0
        """The pid of what does it."""
        self.qemu = qemu
        self.guests = {guest.name: guest for guest in guests}
        self.config, self.runtime, self.state = root / "config", root / "run", root / "state"
        self.places = {name: root / name for name in ("files", "disks", "fakes")}
        self.room = Room({"run": self.runtime, "state": self.state, "disks": self.places["disks"]})
        self.board = Board(root / "board", points.POINTS)
        self.life: Life
        self.lives = 0
        self.log: deque[str] = deque(maxlen=20_000)
        """What all of them have logged."""
        self.client = QMPClient("storm")
        self.events: deque[dict[str, Any]] = deque(maxlen=100_000)
        """What all daemons have told, in order."""
        self.heard = asyncio.Event()
        """Set whenever an event comes."""
        self._nursery: asyncio.subprocess.Process
        self._channel: socket.socket
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._dead: dict[int, int] = {}
        """How each process that was reaped has ended, by its pid, until another one has that."""
        self._bearing = asyncio.Lock()
        self._spawning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def nursery(self) -> int:
        """The pid of the process from which all comes that the daemons start."""
        return self._nursery.pid

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have the directories, and a nursery; leave no process behind."""
        for directory in (self.config / "guests", self.runtime, self.state, *self.places.values()):
            directory.mkdir(parents=True)
        with self.room:
            fleet.build(self.places, list(self.guests.values()))
            user = 'qemu-user = "root"\n' if os.geteuid() == 0 else ""
            (self.config / "qsup.toml").write_text(user + CONFIG.format(qemu=self.qemu))
            for guest in self.guests.values():
                self.write(guest.name, guest.text(self.places))
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._channel.setblocking(False)
            with theirs:
                self._nursery = await asyncio.create_subprocess_exec(
                    sys.executable, "-W", "always::ResourceWarning", "-m", "tests.chaos.nursery",
                    str(theirs.fileno()), str(self.root / "board"),
                    stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                )  # fmt: skip
            self._do(self._listen())
            try:
                await self.have_spawner()
                yield
            finally:
                await self._clear()

    async def _clear(self) -> None:
        with contextlib.suppress(Exception):
            await self.client.disconnect()
        # The nursery first takes in what its children leave behind.
        while left := descendants(self.nursery):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        take_back(self.state, self.runtime)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._channel.close()
        self._nursery.kill()
        await self._nursery.wait()

    def _do(self, deed: Any) -> None:
        task = asyncio.create_task(deed)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        """Hear from the nursery who is born and who has died."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._channel, 1 << 16):
            told = json.loads(data)
            if "pid" in told:
                self._dead.pop(told["pid"], None)
                self._born.put_nowait(told["pid"])
                continue
            self._dead[told["ended"]] = told["status"]
            if self.lives and told["ended"] == self.life.pid and not self.life.ended:
                self.life.status.set_result(told["status"])
                self.heard.set()

    # Daemons

    async def have_spawner(self) -> None:
        """Have the daemons' spawner run, if they have one."""
        async with self._spawning:
            if self.spawner_socket is None or self.spawner in descendants(self.nursery):
                return
            argv = ["--socket", str(self.spawner_socket)]
            with self.spawner_log.open("ab") as log:
                self.spawner = await self._bear({"argv": argv, "spawner": None}, log.fileno())

    @property
    def spawner_log(self) -> Path:
        """What all spawners have said."""
        return self.root / "spawner.log"

    async def _bear(self, request: dict[str, Any], *fds: int) -> int:
        """Have the nursery start something; its pid."""
        async with self._bearing, asyncio.timeout(DEADLINE):
            socket.send_fds(self._channel, [json.dumps(request).encode()], fds)
            return await self._born.get()

    async def begin(self) -> bool:
        """Start a daemon, and be its client; False if it ended before it was ready."""
        reader, writer = os.pipe()
        reports, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reports.setblocking(False)
        where = {"config": self.config, "runtime-dir": self.runtime, "state-dir": self.state}
        argv = [word for name, path in where.items() for word in (f"--{name}", str(path))]
        spawner = None if self.spawner_socket is None else str(self.spawner_socket)
        try:
            pid = await self._bear({"argv": argv, "spawner": spawner}, writer, theirs.fileno())
        finally:
            os.close(writer)
            theirs.close()
        self.life = Life(pid, reports)
        self.lives += 1
        self._do(self._read(self.life, reader))
        if pid in self._dead:
            self.life.status.set_result(self._dead[pid])
        settled = self.life.settled
        self.life.status.add_done_callback(lambda _: settled.set())
        async with asyncio.timeout(DEADLINE):
            await self.life.settled.wait()
        if self.life.ended:
            return False
        try:
            self.client = await self.connect()
        except Exception:
            # It may die in the very moment.
            if await self._dies():
                return False
            raise
        return True

    async def _dies(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(self.life.status)
        return self.life.ended

    async def _read(self, life: Life, fd: int) -> None:
        stream = asyncio.StreamReader(limit=1 << 22)
        with os.fdopen(fd, "rb") as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), pipe
            )
            try:
                async for line in stream:
                    life.log.append(line.decode(errors="replace"))
                    self.log.append(life.log[-1])
                    if " is ready: " in life.log[-1]:
                        life.settled.set()
            finally:
                transport.close()
                life.reports.close()

    async def connect(self) -> QMPClient:
        """One more client, which hears all events."""
        client = QMPClient("storm")
        client.events.event_filter = self._hear
        await client.connect(str(self.runtime / "control.sock"))
        return client

    def _hear(self, event: Message) -> bool:
        self.events.append({**event, "life": self.lives})
        self.heard.set()
        return False

    async def kill(self) -> int:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.life.pid, signal.SIGKILL)
        return await self.gone()

    async def leave(self) -> int:
        """SIGTERM, the documented way out."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.life.pid, signal.SIGTERM)
        return await self.gone()

    async def gone(self) -> int:
        """Wait until the daemon has ended, however; its status."""
        status = await self.life.over()
        with contextlib.suppress(Exception):
            await self.client.disconnect()
        return status

    # What is asked of them

    async def run(self, command_: str, **arguments: Any) -> Any:
        """Execute a command. Raises ExecuteError, or what qemu.qmp raises if the daemon dies."""
        async with asyncio.timeout(DEADLINE):
            return await self.client.execute(
                command_, {key.replace("_", "-"): value for key, value in arguments.items()}
            )

    async def views(self) -> dict[str, dict[str, Any]]:
        """The facts of all guests."""
        return {view["name"]: view for view in await self.run("query-guest")}

    async def something(self, within: float) -> None:
        """Wait for the next event, for so many seconds at most."""
        self.heard.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.heard.wait()

    # Files

    def file(self, name: str) -> Path:
        """A guest's file."""
        return self.config / "guests" / f"{name}.toml"

    def write(self, name: str, text: str) -> None:
        """Write a guest's file, at once and whole."""
        path = self.file(name)
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(path)


def descendants(root: int) -> dict[int, int]:
    """All processes below one, and their parents; those that have ended and wait to be reaped are none."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{entry.name}/stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)
    return {pid: parent for pid, parent in parents.items() if _below(pid, root, parents)}


def _below(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == root:
            return True
    return False
