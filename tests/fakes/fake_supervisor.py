"""A supervisor without guests: facts and answers are what a test sets, deeds last until the test ends them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from qsup.argv.invocation import Invocation, Listener, Option
from qsup.blackbox.shelf import Shelf
from qsup.budget import Need, plan
from qsup.bus import Bus
from qsup.cause import Cause
from qsup.drill.hold import Report
from qsup.drill.plan import Kind as Drill
from qsup.drill.plan import Row
from qsup.errors import GuestNotFound, QsupError, UsageError
from qsup.fleet import Stopped
from qsup.guest.view import EndView, GuestView
from qsup.phase import Phase, Verb, Wanted
from qsup.spec.tables.keeping import Crashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from qsup.budget import Plan

SINCE = 1_700_000_000.0
"""The wall time at which everything happened to the fake's guests."""


def view(name: str, **facts: Any) -> GuestView:
    """A running guest; ``facts`` replace its fields."""
    base = GuestView(
        name=name,
        phase=Phase.RUNNING,
        ready=True,
        ready_after=0.0,
        not_ready=None,
        ill=None,
        maintenance=None,
        pid=4711,
        wanted=Wanted.RUNNING,
        cause=None,
        restarts=0,
        since=SINCE,
        reason="started by uid 0 (pid 1)",
        next_try=None,
        run_state="running",
        waiting_for=(),
        failures=0,
        limit=5,
        last_end=None,
        started_at=SINCE,
        adopted=False,
        file=f"/etc/qsup/guests/{name}.toml",
        orphaned=False,
        changes=(),
        problems=(),
        description="",
        machine="pc-q35-7.2",
        accel="tcg",
        qemu="7.2.22",
        memory=1 << 30,
        cpus=1,
        run_dir=f"/run/qsup/guests/{name}/1",
        serials=("console",),
        helpers={},
        scope=f"qsup-{name}.scope",
        limits={},
        display=None,
        trouble=None,
        stopped_by=None,
    )
    return msgspec.structs.replace(base, **facts)


def stopped(name: str, **facts: Any) -> GuestView:
    """A guest that an operator stopped."""
    return view(
        name,
        **{
            "phase": Phase.STOPPED,
            "ready": False,
            "pid": None,
            "wanted": Wanted.STOPPED,
            "run_state": None,
            "reason": "stopped by uid 0 (pid 1)",
            "started_at": None,
            **facts,
        },
    )


def panicked(name: str) -> GuestView:
    """A guest that was given up after panics; the evidence holds what a hostile guest might have put there."""
    end = EndView(
        cause=Cause.GUEST_PANIC,
        detail="the kernel said: \x1b]0;owned\x07 Oops",
        status="exit 0",
        at=SINCE,
        ran=42.0,
        decision="restart.limit 5 within 10 min: give up",
        evidence=("QEMU's event GUEST_PANICKED",),
        bundle="web3-20260504T083324Z-1a2b",
    )
    return stopped(
        name, phase=Phase.GAVE_UP, wanted=Wanted.RUNNING, cause=Cause.GUEST_PANIC, failures=5, last_end=end
    )


@dataclass
class FakeConsole:
    """A serial port whose output a test feeds and whose input it reads."""

    log: bytes = b""
    typed: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    off: bool = False
    viewers: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    attached: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def attach(self) -> Iterator[AsyncIterator[bytes]]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.viewers.append(queue)
        self.attached.set()

        async def output() -> AsyncIterator[bytes]:
            while (data := await queue.get()) is not None:
                yield data

        try:
            yield output()
        finally:
            self.viewers.remove(queue)

    def feed(self, data: bytes | None) -> None:
        """Print on the port; None ends the output for good."""
        for viewer in self.viewers:
            viewer.put_nowait(data)

    async def write(self, data: bytes) -> None:
        if self.off:
            raise QsupError("the guest does not run")
        self.typed.put_nowait(data)

    def tail(self, limit: int) -> bytes:
        return self.log[-limit:]


@dataclass
class FakeConfiguration:
    guests: dict[str, Any]
    problems: list[str]
    by_guest: dict[str, list[str]]


@dataclass
class FakeReload:
    added: tuple[str, ...] = ("web3",)
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class FakeDelivery:
    way: str
    to: str
    done: bool
    message: str


class FakeAlerts:
    """One alert, ``ops``, whose webhook is down."""

    async def test(self, name: str, guest: str, phase: str | None) -> list[FakeDelivery]:
        if name != "ops":
            raise UsageError(f'there is no alert "{name}"; there are: ops')
        return [
            FakeDelivery("command", "/usr/local/bin/page", True, f"delivered: {guest}, {phase}"),
            FakeDelivery("webhook", "https://example.org", False, "it answered 500 \x1b[31mOops"),
        ]


class FakeSupervisor:
    """Holds views; ``hold`` makes deeds last until ``release``; ``failures`` and ``bugs`` make them raise."""

    def __init__(self, *views: GuestView) -> None:
        self.bus = Bus()
        self.crashes = Shelf(Path("/nonexistent"), Crashes())
        self.version: dict[str, Any] = {"version": "0.1.0", "python": "3.11"}
        self.views = {one.name: one for one in views}
        self.asked: list[tuple[str, Verb, str]] = []
        self.done: list[tuple[str, Verb]] = []
        self.maintained: list[tuple[str, float, str]] = []
        self.failures: dict[str, Exception] = {}
        self.held: set[str] = set()
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.abandoned = asyncio.Event()
        self.consoles: dict[str, FakeConsole] = {name: FakeConsole() for name in self.views}
        self.problems: list[str] = []
        self.by_guest: dict[str, list[str]] = {}
        self.reloaded = FakeReload()
        self.qmp_calls: list[tuple[str, str, dict[str, Any]]] = []
        self.agent_calls: list[tuple[str, str, dict[str, Any]]] = []

    def names(self) -> list[str]:
        return sorted(self.views)

    def view(self, name: str) -> GuestView:
        if name not in self.views:
            raise GuestNotFound.of(name)
        return self.views[name]

    async def command(self, name: str, verb: Verb, *, by: str) -> str:
        self.view(name)
        self.asked.append((name, verb, by))
        if name in self.failures:
            raise self.failures[name]
        return f"{verb} accepted"

    async def maintain(self, name: str, seconds: float, *, by: str) -> str:
        self.view(name)
        self.maintained.append((name, seconds, by))
        return f"under maintenance for {seconds:.0f} s"

    async def drill(self, name: str, kind: Drill, *, by: str) -> Report:
        self.view(name)
        row = Row("cause", "qemu-signal", "qemu-signal", ok=True)
        return Report(guest=name, kind=kind, rows=(row, Row("bundle", "one", "none", ok=False)))

    async def finished(self, name: str, verb: Verb, *, ready: bool = False) -> str:
        if name in self.held:
            self.waiting.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.abandoned.set()
                raise
        self.done.append((name, verb))
        return f"{verb} done after 0.1 s{', ready' * ready}"

    async def start_many(
        self, names: list[str], *, by: str, ready: bool = False
    ) -> dict[str, str | QsupError]:
        return {name: await self._one(name, Verb.START, by) for name in names}

    async def stop_many(self, names: list[str], *, by: str) -> dict[str, str | QsupError]:
        return {name: await self._one(name, Verb.STOP, by) for name in reversed(names)}

    @property
    def fleet(self) -> FakeSupervisor:
        return self

    async def start_again(self, names: list[str], *, by: str) -> dict[str, str | QsupError]:
        stopped = [name for name in names if self.views[name].phase is Phase.STOPPED]
        return {
            name: await self._one(name, Verb.START, by) if name in stopped else "running already"
            for name in names
        }

    async def stop_within(
        self, names: list[str], budget: float, *, by: str
    ) -> dict[str, Stopped | QsupError]:
        """The first one is cut short."""
        told = await self.stop_many(names, by=by)
        return {
            name: result if isinstance(result, QsupError) else Stopped(result, cut_short=name == names[0])
            for name, result in told.items()
        }

    def stop_plan(self, names: list[str], budget: float) -> Plan:
        alive = [name for name in names if self.views[name].phase is Phase.RUNNING]
        return plan({name: Need(100.0, tuple(alive[:place])) for place, name in enumerate(alive)}, budget)

    async def _one(self, name: str, verb: Verb, by: str) -> str | QsupError:
        try:
            await self.command(name, verb, by=by)
            return await self.finished(name, verb)
        except QsupError as error:
            return error

    async def qmp(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        self.view(name)
        self.qmp_calls.append((name, command, arguments))
        if name in self.failures:
            raise self.failures[name]
        return {"status": "running"}

    async def agent(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        self.view(name)
        self.agent_calls.append((name, command, arguments))
        return {"pretty-name": "Debian"}

    def places(self, name: str, table: tuple[str, ...]) -> list[str]:
        return [f"guests/{name}.toml:{len(table)}"] if table else []

    async def invocation(self, name: str) -> Invocation:
        self.view(name)
        options = (
            Option("-name", f"guest={name}"),
            Option("-S"),
            Option("-append", "quiet splash", ("boot",)),
        )
        return Invocation(
            "/usr/bin/qemu-system-x86_64",
            options,
            (Listener(4, "qmp.sock"),),
            "tcg",
            "q35",
            environment={"PIPEWIRE_REMOTE": "/run/my pipewire-0"},
        )

    def configuration(self) -> FakeConfiguration:
        return FakeConfiguration(dict.fromkeys(self.views), self.problems, self.by_guest)

    async def reload(self) -> FakeReload:
        return self.reloaded

    def console(self, name: str, serial: str | None) -> FakeConsole:
        if serial not in (None, *self.view(name).serials):
            raise QsupError(
                f"{name} has no serial port {serial}; it has {', '.join(self.view(name).serials)}"
            )
        return self.consoles[name]

    def stderr_tail(self, name: str, limit: int) -> str:
        self.view(name)
        return "qemu-system-x86_64: warning\n"[-limit:]
