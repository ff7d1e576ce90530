"""One guest's actor: takes inputs out of the inbox one by one, lets ``step`` decide, performs the effects.

The only place where effects become deeds. All that it starts are tasks of its own task group; when it is
cancelled they end with it, and QEMU goes on running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from qsup import clock
from qsup.argv.draft import serial_file
from qsup.argv.invocation import AGENT_FILE
from qsup.errors import GuestNotFound, QmpError, QsupError, RecordError, Refused
from qsup.events import Kind
from qsup.guest import effects as do
from qsup.guest import inputs, record
from qsup.guest.launch import adopt, forget_older, launch, write_helpers
from qsup.guest.line import Line, budget
from qsup.guest.restore import wants_start
from qsup.guest.state import Launch, State
from qsup.guest.step import step
from qsup.guest.turn import REWRITE, Env
from qsup.phase import Phase
from qsup.proc.console import Console
from qsup.proc.rotated import RotatedLog
from qsup.qmp.agent import agent_execute

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from qsup.guest.host import Host
    from qsup.guest.launch import Running
    from qsup.phase import Verb
    from qsup.spec.model import GuestSpec

log = logging.getLogger(__name__)

REWRITE_AFTER = 5.0
"""Seconds until a state that could not be written is written again."""
LAST_WORDS = 0.5
"""Seconds that the QMP session of a process that has ended may take to deliver its last events."""


class Actor:
    """The life of one guest. ``run`` is its task; ``post`` and ``command`` are its doors."""

    def __init__(self, spec: GuestSpec, host: Host) -> None:
        self.spec = spec
        self.host = host
        self.state = State()
        self.running: Running | None = None
        self.consoles: dict[str, Console] = {}
        self.restored = asyncio.Event()
        """Set once the actor knows whether its process lives."""
        self.same_boot = True
        self._inbox: asyncio.Queue[tuple[inputs.Input, asyncio.Future[str] | None]] = asyncio.Queue()
        self._line: Line | None = None
        self._budget = budget()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._watchers: set[asyncio.Future[None]] = set()
        self._over = False
        self._tasks: asyncio.TaskGroup
        self._random = random.Random()  # noqa: S311 - jitter, not secrets

    # Doors

    def post(self, happened: inputs.Input) -> None:
        """Tell the guest that something has happened."""
        self._inbox.put_nowait((happened, None))

    async def command(self, verb: Verb, by: str) -> str:
        """Ask for a verb; return what was accepted, as a sentence. Raises Refused."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((inputs.Command(verb, by), answer))
        return await answer

    async def qmp(self, command: str, arguments: dict[str, Any], deadline: float | None = None) -> Any:
        """Execute a QMP command for an operator. Raises QmpError."""
        if self._line is None:
            raise QmpError(f"{self.spec.name} is {self.state.phase}: there is no QMP session to it")
        return await self._line.session.execute(command, arguments, deadline=deadline)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition over this actor's state holds; it is looked at after every change.

        Raises GuestNotFound if the guest is forgotten before.
        """
        while not reached():
            if self._over:
                raise self._forgotten()
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.add(changed)
            try:
                await changed
            finally:
                self._watchers.discard(changed)

    @property
    def qemu_version(self) -> str | None:
        """The version of the QEMU at the other end of the session."""
        return self._line.session.version if self._line else None

    def settled(self) -> bool:
        """Whether no process lives, or it has answered, or it is known not to."""
        return self.running is None or self.state.connected or self.state.phase is Phase.UNREACHABLE

    @property
    def wants_start(self) -> bool:
        """Whether it is to be started as the daemon starts."""
        return wants_start(self.state, autostart=self.spec.autostart, same_boot=self.same_boot)

    def console(self, serial: str) -> Console:
        """The supervisor's end of a serial port of the declared or running guest."""
        if serial not in self.consoles:
            port = (self.running.spec if self.running else self.spec).serial[serial]
            path = self.host.paths.guest_state(self.spec.name) / f"serial-{serial}.log"
            kept = RotatedLog(path, int(port.log_size)) if port.log else None
            self.consoles[serial] = Console(f"{self.spec.name}/{serial}", kept)
        return self.consoles[serial]

    # The loop

    async def run(self) -> None:
        """Live until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._contained(self._restore())
                self.restored.set()
                while True:
                    await self._take(*await self._inbox.get())
        finally:
            self._leave()
            for timer in self._timers.values():
                timer.cancel()
            if self._line is not None:
                await self._line.close()
            for console in self.consoles.values():
                await console.close()
            if self.running is not None:
                self.running.process.close()
                self.running.helpers.close()

    def _leave(self) -> None:
        """Let those go who still wait for an answer or a change that will not come."""
        self._over = True
        self._wake()
        while not self._inbox.empty():
            _, answer = self._inbox.get_nowait()
            if answer is not None and not answer.done():
                answer.set_exception(self._forgotten())

    def _forgotten(self) -> GuestNotFound:
        return GuestNotFound(f"guest {self.spec.name} was forgotten: its file has gone")

    async def _take(self, happened: inputs.Input, answer: asyncio.Future[str] | None) -> None:
        """One input: decide, perform, wake those who wait. A bug in here must not take the other guests along."""
        try:
            env = Env(clock.now(), clock.wall(), self._random.random(), self.spec)
            self.state, effects = step(self.state, happened, env)
            for effect in effects:
                await self._perform(effect, answer)
        except Exception as error:
            log.exception(
                "%s: a bug in qsup: %s could not be handled", self.spec.name, type(happened).__name__
            )
            if answer is not None and not answer.done():
                answer.set_exception(QsupError(f"a bug in qsup, see the daemon's log: {error!r}"))
        self._wake()

    def _wake(self) -> None:
        """Let those who wait for a condition look again."""
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def _perform(self, effect: do.Effect, answer: asyncio.Future[str] | None) -> None:
        match effect:
            case do.Spawn():
                self._go(self._launch())
            case do.Connect():
                self._go(self._connect())
            case do.Qmp(command, arguments):
                self._say(command, arguments)
            case do.QueryStatus():
                self._go(self._query_status())
            case do.AskAgent():
                self._go(self._ask_agent())
            case do.Signal(number):
                if self.running is not None:
                    self.running.process.signal(number)
            case do.StartHelper(name):
                self._start_helper(name)
            case do.Arm(name, seconds):
                self._arm(name, seconds)
            case do.Cancel(name):
                self._cancel(name)
            case do.Persist():
                await self._persist()
            case do.Publish(kind, data):
                self.host.bus.publish(kind, name=self.spec.name, **data)
            case do.Reply(text, refused):
                if answer is not None and not answer.done():
                    if refused:
                        answer.set_exception(Refused(f"{self.spec.name}: {text}"))
                    else:
                        answer.set_result(text)
            case _:
                assert_never(effect)

    def _go(self, deed: Coroutine[Any, Any, None]) -> None:
        """Do something beside the loop, as a task that ends with the actor."""
        self._tasks.create_task(self._contained(deed))

    async def _contained(self, deed: Coroutine[Any, Any, None]) -> None:
        """A bug in a deed must not take the other guests along."""
        try:
            await deed
        except Exception:
            log.exception("%s: a bug in qsup: %s failed", self.spec.name, getattr(deed, "__name__", "a deed"))
            self.notice("a bug in qsup, see the daemon's log; its QEMU, if there is one, is not touched")

    def _arm(self, name: str, seconds: float) -> None:
        self._cancel(name)
        due = inputs.Timer(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, self.post, due)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    async def _persist(self) -> None:
        written = record.StateRecord(boot_id=self.host.boot_id, state=self.state)
        try:
            await asyncio.to_thread(record.write, self.host.state_file(self.spec.name), written)
        except OSError as error:
            # The guest is more important than its record: go on, aloud.
            self.notice(
                f"its state cannot be written ({error}); it is tried again, until then a new daemon knows less"
            )
            self._arm(REWRITE, REWRITE_AFTER)

    def notice(self, message: str) -> None:
        """Tell something about this guest that is not an input."""
        self.host.bus.publish(Kind.NOTICE, name=self.spec.name, message=message)

    # Deeds

    async def _restore(self) -> None:
        """Find out what the last daemon left, and what became of it."""
        try:
            kept = record.read_state(self.host.state_file(self.spec.name))
        except RecordError as error:
            self.notice(str(error))
            kept = None
        if kept is not None:
            self.state = kept.state
            self.same_boot = kept.boot_id == self.host.boot_id
        self.running, last, trouble = await adopt(self.spec, self.host)
        if trouble:
            self.notice(trouble)
        running = self.running
        if running is None or running.process.ended:
            # A process that nobody has reaped yet is no guest any more, but its status may still be had.
            self.running = None
            launched = last is not None and last.identity is not None
            words = running.stderr() if running else ""
            self.post(inputs.Restored(self.same_boot, launched=launched, stderr=words))
            if running is not None:
                await running.helpers.end()
                self._go(self._learn_status(running))
        else:
            self._attend(running)
            alive = Launch(
                token=running.token,
                pid=running.process.pid,
                accel=running.record.accel,
                running_since=running.process.identity.started,
                adopted=True,
            )
            self.post(inputs.Restored(same_boot=True, alive=alive))
        if kept is not None or last is not None:
            await self._take(*await self._inbox.get())

    async def _launch(self) -> None:
        try:
            running, qmp = await launch(self.spec, self.host)
        except Exception as error:
            if not isinstance(error, QsupError):
                log.exception("%s: a bug in qsup: the launch failed", self.spec.name)
            self.post(inputs.LaunchFailed(str(error) or repr(error)))
            return
        self.running = running
        self._attend(running)
        self.post(inputs.Spawned(running.token, running.process.pid, running.record.accel))
        self._connect_consoles(running)
        forget_older(self.host, self.spec.name, running.token)
        await self._open_line(running, qmp, float(self.spec.qemu.start_timeout), fresh=True)

    async def _connect(self) -> None:
        """Connect to the QMP socket of a living process, adopted or lost."""
        running = self.running
        if running is None:
            return
        if self._line is not None:
            await self._line.close()
        self._connect_consoles(running)
        try:
            qmp = await Line.dial(running)
        except QsupError as error:
            self.post(inputs.ConnectFailed(str(error)))
            return
        await self._open_line(running, qmp, 5.0, fresh=False)

    async def _open_line(self, running: Running, qmp: socket.socket, deadline: float, *, fresh: bool) -> None:
        line = Line(running, self._budget, self.post)
        try:
            await line.open(qmp, deadline)
            # QEMU was started with -S, so a fresh one needs not be asked.
            run_state = "prelaunch" if fresh else await line.run_state()
            if run_state == "prelaunch":
                await line.prepare()
        except QsupError as error:
            await line.close()
            # A QEMU that ends loses its session first; then its end says more than this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.until(lambda: self.running is not running)
            if self.running is running:
                self.post(inputs.ConnectFailed(f"QEMU runs as pid {running.process.pid}, but {error}"))
            return
        if self.running is not running:
            # It ended in the very moment of the handshake, and another launch may be under way already.
            await line.close()
            return
        self._line = line
        self._go(line.serve())
        self.post(inputs.Connected(run_state))

    def _say(self, command: str, arguments: dict[str, Any]) -> None:
        if self._line is None:
            self.post(inputs.QmpDone(command, "there is no QMP session"))
        else:
            self._line.say(command, arguments)

    async def _query_status(self) -> None:
        if self._line is not None:
            with contextlib.suppress(QsupError):
                self.post(inputs.RunState(await self._line.run_state()))

    async def _ask_agent(self) -> None:
        if self.running is None or not self.running.spec.agent.enabled:
            self.post(inputs.AgentAnswered("the guest has no agent channel"))
            return
        try:
            await agent_execute(self.running.run_dir, AGENT_FILE, "guest-shutdown", {}, expect_reply=False)
        except QsupError as error:
            self.post(inputs.AgentAnswered(str(error)))
        else:
            self.post(inputs.AgentAnswered())

    def _connect_consoles(self, running: Running) -> None:
        for serial in running.spec.serial:
            console = self.console(serial)
            if not console.connected:
                self._go(self._connect_console(console, running, serial_file(serial)))

    async def _connect_console(self, console: Console, running: Running, file: str) -> None:
        try:
            await console.connect(running.run_dir, file)
        except QsupError as error:
            self.notice(f"no console: {error}")

    def _attend(self, running: Running) -> None:
        """Watch a process and its helpers until they end."""

        async def ends() -> bool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.until(lambda: self.running is not running)
            return self.running is not running

        self._go(self._watch(running))
        running.helpers.attend(self.post, self._go, ends)

    def _start_helper(self, name: str) -> None:
        running = self.running
        if running is not None:
            save = partial(write_helpers, self.host, running)
            self._go(running.helpers.replace(name, save, self.notice))

    async def _watch(self, running: Running) -> None:
        """Wait for the end of the process, let its last events arrive first, and tell."""
        status = await running.process.wait()
        line = self._line
        if line is not None:
            await line.ended(LAST_WORDS)
            await line.close()
            self._line = None
        # A new launch may want their ports and their state.
        await running.helpers.end()
        self.running = None
        self.post(inputs.Exited(status, running.stderr()))
        if status is None:
            await self._learn_status(running)
        else:
            running.process.close()

    async def _learn_status(self, running: Running) -> None:
        """Tell the exit status of a process that has ended, once the kernel tells it; then forget the process."""
        try:
            late = await running.process.late_status()
            if late is not None:
                self.post(inputs.StatusKnown(late))
        finally:
            running.process.close()
