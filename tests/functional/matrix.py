"""Many guests at once under one daemon, each of which meets its own end or trouble, with the daemon there or away.

An end that nobody sees is prepared as it happens on a host: the daemon is killed, the ends come about, and the next
daemon is started. This process takes init's place for the QEMUs that lose their daemon, so it decides when they are
reaped: before the next daemon is there, and the exit status is lost, or after.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient

from qsup import endpoint
from qsup.cause import Cause
from tests.functional import causes
from tests.functional.harness import DEADLINE, Site, site

PR_SET_CHILD_SUBREAPER = 36


class When(Enum):
    """Where the daemon is as it happens."""

    HERE = "here"
    AWAY = "away"


class Guest:
    """A guest of a scene, reached through the daemon while that is there and without it else."""

    def __init__(self, here: Site, name: str, accel: str, images: Path) -> None:
        self.site = here
        self.name = name
        self.accel = accel
        self.image = images / f"{name}.img"
        self.pid = 0
        self.helpers: dict[str, int] = {}
        self.listener: socket.socket | None = None
        self.port = 0
        """What ``PORT`` in its file stands for."""
        self.there = True
        """Whether the daemon is."""
        self.at_end = contextlib.AsyncExitStack()

    @property
    def run_dir(self) -> Path:
        (found,) = (entry for entry in (self.site.runtime / "guests" / self.name).iterdir() if entry.is_dir())
        return found

    async def types(self, key: str) -> None:
        """Type into its serial port."""
        if self.there:
            await self.site.types(self.name, key)
            return
        with await endpoint.connect(self.run_dir, "serial-console.sock") as serial:
            serial.send(key.encode())

    async def does(self, key: str, event: str) -> None:
        """Type; without a daemon, wait until QEMU tells of the event that follows."""
        if self.there:
            await self.types(key)
            return
        async with self._monitor() as qemu:
            with qemu.listener((event,)) as events:
                await self.types(key)
                await events.get()

    async def qmp(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command; what it answers, or that it does not, is the caller's affair."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        if self.there:
            return await self.site.run("guest-qmp", name=self.name, command=command, arguments=arguments)
        async with self._monitor() as qemu:
            return await qemu.execute(command, arguments)

    @contextlib.asynccontextmanager
    async def _monitor(self) -> AsyncIterator[QMPClient]:
        qemu = QMPClient("unseen")
        async with asyncio.timeout(DEADLINE):
            await qemu.connect(await endpoint.connect(self.run_dir, "qmp.sock"))
            try:
                yield qemu
            finally:
                with contextlib.suppress(Exception):
                    await qemu.disconnect()


Act = Callable[[Guest], Awaitable[object]]


async def nothing(_guest: Guest) -> None:
    """What there is to do where all happens by itself."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How a cause comes about, and what is to be told."""

    act: Act = nothing
    """While the daemon is there, or away."""
    told: tuple[Cause, ...]
    """The causes that are told, in their order."""
    detail: str = ""
    """What the last of them has in its detail."""
    more: str = causes.STAY
    """Keys of `[stop]` and tables of the guest's file."""
    format: str = "raw"
    disk: str = ""
    """Keys of its disk."""
    args: str = ""
    """Words for QEMU, each after a comma."""
    prepare: Callable[[Guest], object] = lambda _guest: None
    """Before the guest is started: its image, say."""
    before: Act = nothing
    """While the daemon is still there in any case."""
    after: Act = nothing
    """Once the next daemon is there."""
    boots: bool = True
    """Whether it has to be ready for a key; who has not is started last."""
    spins: bool = False
    """Whether it burns a processor from then on."""
    reaped: bool = False
    """Whether nobody is left to tell the next daemon of an exit status."""
    needs: Callable[[], str | None] = lambda: None
    """Why it cannot be played on this host."""


@dataclass
class Played:
    """What was told of a guest."""

    causes: list[str] = field(default_factory=list)
    """Each cause, one after the other, the same in a row once."""
    details: list[str] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)
    """Those that were announced."""
    kept: list[str] = field(default_factory=list)
    """Those that are there."""
    trouble: str | None = None
    """What went wrong with the scene itself."""


class Stage:
    """One site, and the scenes that are played on it together: by the guests' names, with their accelerators."""

    def __init__(self, here: Site, when: When, scenes: Mapping[str, tuple[str, Scene]]) -> None:
        self.site = here
        self.when = when
        self.scenes = {name: scene for name, (_, scene) in scenes.items()}
        images = here.root / "images"
        images.mkdir()
        self.guests = {name: Guest(here, name, accel, images) for name, (accel, _) in scenes.items()}
        self._since = 0
        self._trouble: dict[str, str] = {}

    async def play(self) -> dict[str, Played]:
        """Play them all; return what was told of each."""
        for name, guest in self.guests.items():
            self._declare(guest, self.scenes[name])
        await self.site.start(development=False)
        self._since = (await self.site.run("query-events"))["last"]
        await self._start([name for name, scene in self.scenes.items() if scene.boots])
        await self._start([name for name, scene in self.scenes.items() if not scene.boots])
        await self._each("before")
        if self.when is When.AWAY:
            await self.site.kill()
            self._since = 0
        for guest in self.guests.values():
            guest.there = self.when is When.HERE
        await self._each("act")
        if self.when is When.AWAY:
            await self._return()
        for name in self.guests:
            await self._wait(name)
        # Only now, as something wrong may follow on what was right.
        told = {name: await self._told(name) for name in self.guests}
        await self.site.leave()
        for one in told.values():
            one.kept = [
                id_ for id_ in one.bundles if (self.site.state / "crashes" / id_ / "summary.md").exists()
            ]
        return told

    def _declare(self, guest: Guest, scene: Scene) -> None:
        causes.build(guest.image)
        scene.prepare(guest)
        more = scene.more.replace("PORT", str(guest.port))
        text = causes.guest(
            guest.image, guest.accel, more, image_format=scene.format, disk=scene.disk, args=scene.args
        )
        self.site.guest(guest.name, text)

    async def _start(self, names: Sequence[str]) -> None:
        """Start guests at once, and wait until they are what their scenes need."""
        if not names:
            return
        await self.site.run("guest-start", names=list(names), wait=False)
        for name in names:
            scene = self.scenes[name]
            if scene.boots:
                await self.site.prints(name, ".")
            view = await self.site.until(name, lambda now: now["phase"] == "running" or now["last-end"])
            self.guests[name].pid, self.guests[name].helpers = view["pid"] or 0, view["helpers"]

    async def _each(self, part: str) -> None:
        await asyncio.gather(*(self._one(name, part) for name in self.scenes))

    async def _one(self, name: str, part: str) -> None:
        """A part of a scene; one that goes wrong does not take the others along."""
        try:
            async with asyncio.timeout(DEADLINE):
                await getattr(self.scenes[name], part)(self.guests[name])
        except Exception as error:
            self._trouble.setdefault(name, f"{part}: {error!r}")

    async def _return(self) -> None:
        """The next daemon comes; init's work is done before or after that."""
        for name, scene in self.scenes.items():
            if scene.reaped and name not in self._trouble:
                reap(self.guests[name].pid)
        await self.site.start(development=False)
        reap()
        for guest in self.guests.values():
            guest.there = True
        await self._each("after")

    async def _wait(self, name: str) -> None:
        """Wait until all is told that is to be, or time is up."""
        listener = EventListener()
        with self.site.client.listen(listener), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1 if name in self._trouble else DEADLINE):
                while len((await self._told(name)).causes) < len(self.scenes[name].told):
                    await listener.get()

    async def _told(self, name: str) -> Played:
        found = await self.site.run("query-events", since=self._since, names=[name])
        played = Played(trouble=self._trouble.get(name))
        for event in found["events"]:
            data = event["data"]
            cause, detail = data.get("cause"), data.get("detail") or ""
            if event["event"] == "GUEST_NOTICE":
                word, _, detail = data["message"].partition(": ")
                cause = word if word in set(Cause) else None
            if cause is not None and event["event"] != "GUEST_RECOVERED":
                if played.causes[-1:] != [cause]:
                    played.causes.append(cause)
                played.details.append(detail)
            if data.get("bundle"):
                played.bundles.append(data["bundle"])
        return played


def reap(pid: int | None = None) -> None:
    """Do init's work for a process, or for all that have ended."""
    if pid is not None:
        os.waitpid(pid, 0)
        return
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(int(entry.parent.name), 0)


@contextlib.contextmanager
def instead_of_init() -> Iterator[None]:
    """Processes that lose their parent become ours meanwhile (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        reap()


async def play(
    root: Path, qemu: str, when: When, scenes: Mapping[str, tuple[str, Scene]]
) -> dict[str, Played]:
    """Play scenes on a site of their own."""
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{qemu}"\n')
        stage = Stage(here, when, scenes)
        with instead_of_init():
            try:
                return await stage.play()
            finally:
                for guest in stage.guests.values():
                    await guest.at_end.aclose()
                await here.kill()
