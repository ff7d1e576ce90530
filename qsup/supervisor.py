"""All guests of this host: who exists, who starts and stops when, what a changed configuration means to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import __version__, clock
from qsup.blackbox.shelf import Shelf
from qsup.checks import notify
from qsup.drill.hold import hold
from qsup.errors import GuestNotFound, LaunchError, QsupError, RecordError, Refused
from qsup.events import Kind
from qsup.fleet import Fleet
from qsup.guest import launch
from qsup.guest.actor import Actor
from qsup.guest.describe import describe
from qsup.guest.grants import Grants
from qsup.guest.host import Host
from qsup.guest.inputs import Due, Maintenance
from qsup.guest.record import read_launch
from qsup.guest.running import STDERR
from qsup.guest.users import Users
from qsup.phase import ALIVE, Phase
from qsup.probe.prober import Prober
from qsup.probe.programs import Programs
from qsup.proc import lock
from qsup.proc.bounded import last_written
from qsup.proc.oom import OomLog
from qsup.scope.scopes import Scopes
from qsup.spec import codec
from qsup.spec.diff import diff
from qsup.spec.load import load
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from qsup.argv.invocation import Invocation
    from qsup.bus import Bus
    from qsup.drill.hold import Report
    from qsup.drill.plan import Kind as Drill
    from qsup.events import Event
    from qsup.fdstore import FdStore
    from qsup.guest.measured import Measured
    from qsup.guest.view import GuestView
    from qsup.paths import Paths
    from qsup.phase import Verb
    from qsup.proc.bounded import Keeper
    from qsup.proc.console import Console
    from qsup.spec.load import Configuration
    from qsup.spec.model import DaemonConfig

log = logging.getLogger(__name__)

ADOPTION: Final = 1.0
"""Seconds that QEMUs found alive have to answer before the daemon is ready without them; a hung one never does."""
NO_TOKEN: Final = "0" * 16
"""Stands in a shown command line where a launch will have its token."""


class Reload(msgspec.Struct, frozen=True):
    """What reading the configuration again has changed."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    problems: tuple[str, ...]


class Supervisor:
    """The guests, by name. ``run`` is its task; all else may be called while it runs."""

    def __init__(self, paths: Paths, bus: Bus, keeper: Keeper, store: FdStore) -> None:
        self.paths = paths
        self.bus = bus
        self.version: dict[str, Any] = {
            "version": __version__,
            "pid": os.getpid(),
            "config": str(paths.config),
            "runtime": str(paths.runtime),
            "state": str(paths.state),
        }
        self.adopted = asyncio.Event()
        """Set once every guest that still ran is under supervision again."""
        self.before_reload: list[Callable[[DaemonConfig], Awaitable[None]]] = []
        """Called with the daemon's settings before they hold, when they have been read again."""
        self._configuration = load(paths.config)
        boot_id, binary = clock.boot_id(), str(self._configuration.daemon.qemu_binary)
        prober = Prober(paths.probe_cache, boot_id)
        programs = Programs(self._configuration.daemon)
        self.crashes = Shelf(paths.crashes, self._configuration.daemon.crashes)
        oom, port = OomLog(), notify.port_of(str(paths.runtime))
        self._host = Host(
            paths,
            bus,
            keeper,
            binary,
            boot_id,
            prober,
            programs,
            oom,
            port,
            Scopes(paths),
            self.crashes,
            store,
            Users(paths.users),
            Grants(paths.guests, paths.runs),
        )
        self._host.users.usual = self._configuration.daemon.qemu_user
        self._host.scopes.configure(self._configuration.daemon)
        self._actors: dict[str, Actor] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self.fleet = Fleet(self._actors, lambda: self._configuration.daemon.parallel_starts)
        """What is done to many of the guests, or waited for."""
        self._drills: set[str] = set()
        self._reloading = asyncio.Lock()
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Supervise until cancelled; QEMUs go on running then."""
        self._host.scopes.settle()
        self._host.grants.renew()
        with contextlib.closing(self._host.prober), contextlib.closing(self._host.oom):
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._host.oom.run())
                self._take_notices()
                self._tasks.create_task(self._host.keeper.run())
                self._tasks.create_task(self._host.scopes.run())
                self._tasks.create_task(self._get_to_know(self._host.qemu_binary))
                self._tasks.create_task(self._tidy_crashes())
                self.bus.hooks.append(self._bury_orphan)
                for spec in (*self._configuration.guests.values(), *self._undeclared()):
                    self._bring_to_life(spec)
                await self._adopt_all()
                self.adopted.set()
                await self.fleet.start_due(self.names(), lambda actor: actor.wants_start)
                await asyncio.Event().wait()

    def _take_notices(self) -> None:
        """Let guests report over vsock that they are ready; a host without vsock does without."""
        try:
            listener = notify.listen(self._host.notify_port)
        except OSError as error:
            log.info("no guest can tell over vsock that it is ready: %s", error.strerror)
            return
        self._host.notices = notify.Notices(listener)
        self._tasks.create_task(self._host.notices.serve())

    async def _get_to_know(self, binary: str) -> None:
        """Have the answers of the usual QEMU ready for the first start. What is wrong with it, a start will say."""
        with contextlib.suppress(LaunchError):
            await asyncio.to_thread(self._host.prober.facts, binary)

    async def _tidy_crashes(self) -> None:
        """Remove the bundles that are too many, as the configuration has it now, and tell which."""
        try:
            gone = await self.crashes.tidy()
        except QsupError as error:
            log.warning("%s, ignoring", error)
            return
        if gone:
            log.info("bundles of crashes removed to make room: %s", ", ".join(gone))

    async def _adopt_all(self) -> None:
        """Wait until every guest knows what is left of it, and a moment longer until QEMUs that live have answered."""
        for actor in tuple(self._actors.values()):
            await actor.restored.wait()
        self._host.store.forget_rest()
        for name in self._host.grants.guests() - self._actors.keys():
            self._host.grants.take_back(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ADOPTION):
                for actor in tuple(self._actors.values()):
                    await actor.until(actor.settled)

    def _bring_to_life(self, spec: GuestSpec) -> Actor:
        actor = Actor(spec, self._host)
        self._actors[spec.name] = actor
        self._lives[spec.name] = self._tasks.create_task(actor.run())
        return actor

    def _undeclared(self) -> list[GuestSpec]:
        """The guests that no usable file declares, but whose QEMU still runs."""
        specs = []
        with contextlib.suppress(FileNotFoundError):
            for entry in sorted(self.paths.guests.iterdir()):
                name = entry.name
                if name not in self._configuration.guests and self._still_runs(name):
                    specs.append(self._last_spec(name))
        return specs

    def _still_runs(self, name: str) -> bool:
        lock_file = self._host.lock_file(name)
        return lock_file.exists() and lock.is_held(lock_file)

    def _last_spec(self, name: str) -> GuestSpec:
        """The spec that the running QEMU was launched from; next to nothing if its record is lost."""
        try:
            record = read_launch(self._host.launch_file(name))
            if record is not None:
                return codec.decode(bytes(record.spec))
        except RecordError as error:
            self.bus.publish(Kind.NOTICE, name=name, message=str(error))
        return GuestSpec(name=name)

    def _bury_orphan(self, event: Event) -> None:
        """A guest whose file has gone is forgotten once its QEMU has ended."""
        if event.kind is Kind.PHASE and event.guest is not None:
            self._forget_if_gone(event.guest)

    def _forget_if_gone(self, name: str) -> None:
        actor = self._actors.get(name)
        if actor is not None and self._is_orphan(name) and actor.state.phase not in ALIVE:
            self._lives.pop(name).cancel()
            del self._actors[name]
            launch.discard(self._host, name)
            self.bus.publish(Kind.SPEC, name=name, change="forgotten", paths=[])

    def _is_orphan(self, name: str) -> bool:
        return name not in self._configuration.guests and name not in self._configuration.broken

    # Facts

    def names(self) -> list[str]:
        """All guests, sorted."""
        return sorted(self._actors)

    def living(self) -> dict[str, int | None]:
        """The pids of the guests whose QEMU lives, None as long as it is not known, by name."""
        states = ((name, self._actors[name].state) for name in self.names())
        return {name: state.pid for name, state in states if state.phase in ALIVE}

    def _actor(self, name: str) -> Actor:
        try:
            return self._actors[name]
        except KeyError:
            raise self._unknown(name) from None

    def _unknown(self, name: str) -> GuestNotFound:
        problems = self._configuration.problems_of(name)
        if problems:
            return GuestNotFound(f"the file of guest {name} cannot be used: {problems[0]}")
        return GuestNotFound.of(name)

    def view(self, name: str) -> GuestView:
        """The facts of one guest. Raises GuestNotFound."""
        actor = self._actor(name)
        running = actor.running
        return describe(
            actor.state,
            actor.spec,
            launched=running.spec if running else None,
            machine=running.record.machine if running else None,
            run_dir=running.run_dir if running else None,
            helpers=running.helpers.pids if running else {},
            scope=running.placing.scope.name if running and running.placing.scope else None,
            limits=running.placing.limits if running else actor.spec.limits,
            qemu=actor.qemu_version,
            now=clock.now(),
            wall=clock.wall(),
            file=self._configuration.files.get(name),
            orphaned=self._is_orphan(name),
            problems=tuple(str(problem) for problem in self._configuration.problems_of(name)),
            waiting_for=tuple(sorted(self.fleet.waiting.get(name, ()))),
        )

    def phases(self) -> dict[str, Phase]:
        """The phase of each guest."""
        return {name: self._actors[name].state.phase for name in self.names()}

    async def phase(self, name: str, phase: Phase) -> None:
        """Wait until a guest is in a phase. Raises GuestNotFound."""
        actor = self._actor(name)
        await actor.until(lambda: actor.state.phase is phase)

    def measured(self) -> list[Measured]:
        """What is to be measured of each guest, in the order of their names."""
        return [self._actors[name].measured for name in self.names()]

    def configuration(self) -> Configuration:
        """What the files said when they were last read."""
        return self._configuration

    async def invocation(self, name: str) -> Invocation:
        """What would be executed at the guest's next start. Raises QsupError saying why nothing can be."""
        return await asyncio.to_thread(launch.invocation, self._actor(name).spec, self._host, NO_TOKEN)

    def places(self, name: str, table: tuple[str, ...]) -> list[str]:
        """Where the files speak of a table of the guest: ``guests/web1.toml:12``, what wins first."""
        sources = self._configuration.sources.get(name)
        return [f"{file}:{line}" for file, line in sources.places(table)] if sources and table else []

    def console(self, name: str, serial: str | None) -> Console:
        """The supervisor's end of a serial port; the first one without an id. Raises QsupError."""
        actor = self._actor(name)
        ports = tuple((actor.running.spec if actor.running else actor.spec).serial)
        if not ports:
            raise QsupError(f"{name} has no serial port; declare one: [serial.console]")
        chosen = ports[0] if serial is None else serial
        if chosen not in ports:
            raise QsupError(f"{name} has no serial port {chosen}; it has {', '.join(ports)}")
        return actor.console(chosen)

    def stderr_tail(self, name: str, limit: int) -> str:
        """What QEMU wrote on stderr, now or in the last run."""
        actor = self._actor(name)
        if actor.running is not None:
            return actor.running.stderr(limit)
        runs = self._runs(name)
        return last_written(runs[-1], limit).decode(errors="replace") if runs else ""

    def _runs(self, name: str) -> list[Path]:
        files = self.paths.guest_runtime(name).glob(f"*/{STDERR}")
        return sorted(files, key=lambda path: path.stat().st_mtime)

    # Deeds

    async def command(self, name: str, verb: Verb, *, by: str) -> str:
        """Ask a guest for a verb; return what was accepted, as a sentence. Raises Refused, GuestNotFound."""
        return await self._actor(name).command(verb, by)

    async def maintain(self, name: str, seconds: float, *, by: str) -> str:
        """Take a guest for under maintenance for so long; say what was accepted. Raises GuestNotFound."""
        until = clock.now() + seconds if seconds else None
        return await self._actor(name).ask(Maintenance(until, by))

    async def drill(self, name: str, kind: Drill, *, by: str) -> Report:
        """Hold a fire drill with a guest, and tell how it went. Raises Refused, GuestNotFound, QmpError."""
        actor = self._actor(name)
        if name in self._drills:
            raise Refused(f"{name}: a drill is being held already")
        self._drills.add(name)
        actor.hands.notice(f"{by} holds a drill: {kind}")
        try:
            return await hold(actor, kind)
        finally:
            self._drills.discard(name)

    async def qmp(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        """Execute a QMP command on a guest's QEMU. Raises QmpError."""
        return await self._actor(name).qmp(command, arguments)

    async def agent(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        """Execute a command of a guest's agent. Raises QmpError."""
        return await self._actor(name).ask_agent(command, arguments)

    async def reload(self) -> Reload:
        """Read the configuration again; no running guest is disturbed, and a broken ``qsup.toml`` holds as it was."""
        async with self._reloading:
            new = await asyncio.to_thread(load, self.paths.config)
            if new.daemon_broken:
                new = msgspec.structs.replace(new, daemon=self._configuration.daemon)
            else:
                for prepare in self.before_reload:
                    await prepare(new.daemon)
            old, self._configuration = self._configuration, new
            self._host.qemu_binary = str(new.daemon.qemu_binary)
            self._host.users.usual = new.daemon.qemu_user
            self._host.programs = Programs(new.daemon)
            self._host.scopes.configure(new.daemon)
            if new.daemon.crashes != self.crashes.limits:
                self.crashes.limits = new.daemon.crashes
                self._tasks.create_task(self._tidy_crashes())
            added = tuple(name for name in new.guests if name not in self._actors)
            changed = []
            for name, spec in new.guests.items():
                if self._redefine(name, spec):
                    changed.append(name)
                    # Let those who listen keep up, however many guests an edit changes.
                    await asyncio.sleep(0)
            removed = tuple(name for name in old.guests if name not in new.guests and name not in new.broken)
            for name in added:
                await self._welcome(new.guests[name])
            for name in removed:
                self.bus.publish(Kind.SPEC, name=name, change="removed", paths=[])
                self._forget_if_gone(name)
            result = Reload(added, tuple(changed), removed, tuple(str(problem) for problem in new.problems))
            self.bus.publish(Kind.RELOADED, **msgspec.to_builtins(result))
            return result

    def _redefine(self, name: str, spec: GuestSpec) -> bool:
        """Take a new definition for an existing guest; say whether it differs."""
        actor = self._actors.get(name)
        if actor is None:
            return False
        changes = diff(actor.spec, spec)
        if changes:
            actor.spec = spec
            self.bus.publish(
                Kind.SPEC, name=name, change="changed", paths=[str(change) for change in changes]
            )
        return bool(changes)

    async def _welcome(self, spec: GuestSpec) -> None:
        """A new guest appears. It is started only if an operator had wanted it to run before."""
        self.bus.publish(Kind.SPEC, name=spec.name, change="added", paths=[])
        actor = self._bring_to_life(spec)
        await actor.restored.wait()
        if actor.wants_start and actor.state.commanded:
            actor.post(Due())
