"""What is held of one guest's QEMU process, and everything that is done to it.

What comes of a deed is posted as an input. All that is started are tasks of the actor's own task group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from qsup.argv.draft import serial_file
from qsup.argv.invocation import AGENT_FILE
from qsup.errors import QmpError, QmpMute, QmpUnanswered, QsupError
from qsup.events import Kind
from qsup.guest import inputs
from qsup.guest.adopt import adopt
from qsup.guest.judge import SIGKILL
from qsup.guest.launch import forget_older, launch, write_helpers, write_scope
from qsup.guest.line import Line, belated, budget
from qsup.guest.panic import panic_message
from qsup.guest.recorder import Recorder
from qsup.guest.state import Launch
from qsup.guest.unheard import current
from qsup.histogram import Histogram
from qsup.phase import Verb
from qsup.proc import hoststate
from qsup.proc.console import Console
from qsup.proc.rotated import RotatedLog
from qsup.qmp.agent import Agent

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from qsup.guest.effects import Collect
    from qsup.guest.host import Host
    from qsup.guest.operations import Operations
    from qsup.guest.running import Running
    from qsup.guest.state import State
    from qsup.qmp.session import QmpEvent
    from qsup.spec.model import GuestSpec
    from qsup.status import ExitStatus

log = logging.getLogger(__name__)

LAST_WORDS = 0.5
"""Seconds that the QMP session of a process that has ended may take to deliver its last events."""
REAPING = 0.25
"""Seconds that the parent of an adopted process which has ended may take to reap it; usually it is a thousandth."""
HANDSHAKE = 5.0
"""Seconds that a QEMU which is not new may take to greet, and to answer for the first time."""
SIGHT = 16384
"""Bytes of a console that are searched for the words of a panic."""


class Hands:
    """The process, its session, its consoles and its helpers. ``post`` takes inputs, ``go`` runs a deed as a task."""

    def __init__(
        self,
        spec: GuestSpec,
        host: Host,
        post: Callable[[inputs.Input], None],
        go: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        operations: Operations,
    ) -> None:
        self.spec = spec
        self.operations = operations
        self.host = host
        self.running: Running | None = None
        self.line: Line | None = None
        self.consoles: dict[str, Console] = {}
        self.agent: Agent | None = None
        self.greets = False
        """Whether its monitor has greeted the last time that no session came of it."""
        self.recorder = Recorder(host.shelf, self.notice)
        self.latency = Histogram()
        self._last: Running | None = None
        self._post = post
        self.go = go
        self._unheard: list[QmpEvent] = []
        """What QEMU has told while there was no daemon."""
        self.gone = asyncio.Condition()
        self._budget = budget()

    async def close(self) -> None:
        """Let go of everything; QEMU goes on running, and what it says from now on waits for the next daemon."""
        if self.line is not None:
            await self.line.close(hang_up=False)
        for console in self.consoles.values():
            await console.close()
        if self.running is not None:
            self.running.process.close()
            self.running.helpers.close()
            self.running.placing.forget()

    def notice(self, message: str) -> None:
        """Tell something about this guest that is not an input."""
        self.host.bus.publish(Kind.NOTICE, name=self.spec.name, message=message)

    def console(self, serial: str) -> Console:
        """The supervisor's end of a serial port of the declared or running guest."""
        if serial not in self.consoles:
            of = (one.spec for one in (self.running, self, self._last) if one is not None)
            port = next(spec.serial[serial] for spec in of if serial in spec.serial)
            path = self.host.paths.guest_state(self.spec.name) / f"serial-{serial}.log"
            kept = RotatedLog(path, int(port.log_size)) if port.log else None
            self.consoles[serial] = Console(f"{self.spec.name}/{serial}", kept)
        return self.consoles[serial]

    # The beginning

    async def restore(self, shift: float, *, same_boot: bool) -> inputs.Restored:
        """Find out what became of the process that the last daemon left."""
        running, trouble = await adopt(self.spec, self.host)
        if trouble:
            self.notice(trouble)
        if running is None:
            await self._take_back()
            return inputs.Restored(same_boot, shift=shift)
        self._unheard = running.kept.unheard()
        if not running.process.ended:
            self.running = running
            forget_older(self.host, self.spec.name, running.token)
            self._attend(running)
            self.go(self._place(running))
            return inputs.Restored(same_boot=True, alive=_alive(running))
        await running.helpers.end()
        await self._take_back()
        if not same_boot:
            running.process.close()
            return inputs.Restored(same_boot, shift=shift)
        self._last = running
        # Whoever has to reap it may not have done so yet.
        status = await running.process.wait()
        exited, unheard = await self._exited(running, status), belated(self._unheard, running)
        if status is None:
            self.go(self._learn_status(running))
        else:
            running.process.close()
        if running.record.scope is not None:
            self.go(self.host.scopes.left(self.spec.name, running.record.scope))
        return inputs.Restored(same_boot=True, exited=exited, unheard=tuple(unheard))

    async def launch(self) -> None:
        """Launch QEMU and shake hands; posts Spawned or LaunchFailed, then Connected or ConnectFailed."""
        try:
            running, qmp = await launch(self.spec, self.host)
        except Exception as error:
            if not isinstance(error, QsupError):
                log.exception("%s: a bug in qsup: the launch failed", self.spec.name)
            self._post(inputs.LaunchFailed(str(error) or repr(error)))
            return
        self.running, self._last = running, None
        self.operations.begin_run()
        self.recorder.begin()
        self._attend(running)
        if running.placing.urgent:
            self.go(self._place(running))
        self._post(inputs.Spawned(running.token, running.process.pid, running.record.accel))
        running.kept.keep_process(running.process.pidfd)
        self._connect_consoles(running)
        forget_older(self.host, self.spec.name, running.token)
        await self._open_line(running, qmp, float(self.spec.qemu.start_timeout), fresh=True)

    async def connect(self) -> None:
        """Connect to the QMP socket of a living process, adopted or lost."""
        running = self.running
        if running is None:
            return
        if self.line is not None:
            await self.line.close()
        self._connect_consoles(running)
        try:
            qmp = await Line.dial(running)
        except QsupError as error:
            self._post(inputs.ConnectFailed(str(error)))
            return
        # What the handshake tells of a QEMU that hangs must be known before it counts as hung.
        hung = float(running.spec.hang.qemu_timeout)
        await self._open_line(running, qmp, min(HANDSHAKE, hung / 2 or HANDSHAKE), fresh=False)

    async def _open_line(self, running: Running, qmp: socket.socket, deadline: float, *, fresh: bool) -> None:
        panic, observer = partial(self._panic, running), self.recorder.rings.messages
        line = Line(running, self._budget, self._post, panic, observer, self.latency)
        if not fresh:
            running.disregard_log()
        try:
            await line.open(qmp, deadline)
            # QEMU was started with -S, so a fresh one needs not be asked.
            run_state = "prelaunch" if fresh else await line.run_state()
            if run_state == "prelaunch":
                await running.placing.held()
                await line.prepare()
            elif not fresh:
                await line.missed()
        except QsupError as error:
            await line.close()
            self.greets = isinstance(error, QmpMute)
            # A QEMU that ends loses its session first; then its end says more than this.
            if not await self._ends(running):
                told = f"QEMU runs as pid {running.process.pid}, but {error}"
                self._post(inputs.ConnectFailed(told, late=isinstance(error, QmpUnanswered)))
            return
        if self.running is not running:
            # It ended in the very moment of the handshake, and another launch may be under way already.
            await line.close()
            return
        self.line = line
        running.kept.keep_monitor(qmp.fileno())
        self.go(line.serve())
        line.replay(current(self._unheard, run_state))
        self._unheard = []
        rests_by = running.came_to_rest_by() if run_state == "shutdown" else None
        self._post(inputs.Connected(run_state, rests_by))
        if fresh and not running.placing.urgent:
            self.go(self._place(running))

    def _panic(self, running: Running) -> str | None:
        """What the guest's kernel printed as it panicked."""
        tails = (self.console(serial).tail(SIGHT) for serial in running.spec.serial)
        return next((message for tail in tails if (message := panic_message(tail))), None)

    # While it lives

    def say(self, command: str, arguments: dict[str, Any]) -> None:
        """Queue a QMP command; posts QmpDone."""
        if self.line is None:
            self._post(inputs.QmpDone(command, "there is no QMP session"))
        else:
            self.line.say(command, arguments)

    async def query_status(self) -> None:
        """Ask QEMU for its run state; posts RunState."""
        if self.line is not None:
            with contextlib.suppress(QsupError):
                self._post(inputs.RunState(await self.line.run_state()))

    async def ask_agent(self, mode: str = "powerdown") -> None:
        """Ask the guest agent to power the guest off, or in mode ``reboot`` to reboot it; posts AgentAnswered."""
        if self.agent is None:
            self._post(inputs.AgentAnswered("the guest has no agent channel"))
            return
        try:
            await self.agent.execute("guest-shutdown", {"mode": mode}, expect_reply=False, urgent=True)
        except QsupError as error:
            self._post(inputs.AgentAnswered(str(error)))
        else:
            self._post(inputs.AgentAnswered())

    async def monitor(self, line: str) -> str:
        """What QEMU's monitor for people answers. Raises QmpError."""
        if self.line is None:
            raise QmpError("there is no QMP session")
        answer = await self.line.session.execute("human-monitor-command", {"command-line": line})
        return str(answer)

    def signal(self, number: int) -> None:
        """Send QEMU a signal."""
        if self.running is not None:
            self.running.process.signal(number)

    def start_helper(self, name: str) -> None:
        """Start a helper anew; posts HelperExited if that fails."""
        running = self.running
        if running is not None:
            save = partial(write_helpers, self.host, running)
            self.go(running.helpers.replace(name, save, self.notice, partial(self._take_in, running)))

    def picture(self) -> None:
        """Have a picture of the guest's screen taken."""
        self.recorder.picture(self.line, self.running)

    def collect(self, wish: Collect, state: State) -> None:
        """Make a bundle of what is known now."""
        running = self.running or self._last
        if running is None:
            # No process ever came of the launch, so what is wrong is told by its end alone.
            return
        alive = self.running is not None
        consoles = {name: self.console(name) for name in running.spec.serial}
        crash = self.recorder.crash(wish, state, running, consoles, alive=alive)
        self.go(self.recorder.keep(crash, alive=alive))

    def _connect_consoles(self, running: Running) -> None:
        for serial in running.spec.serial:
            console = self.console(serial)
            if not console.connected:
                self.go(self._connect_console(console, running, serial_file(serial)))

    async def _connect_console(self, console: Console, running: Running, file: str) -> None:
        try:
            await console.connect(running.run_dir, file)
        except QsupError as error:
            self.notice(f"no console: {error}")

    # The end

    def _attend(self, running: Running) -> None:
        """Watch a process and its helpers until they end."""
        self.agent = Agent(running.run_dir, AGENT_FILE) if running.spec.agent.enabled else None
        self.go(self._watch(running))
        running.helpers.attend(self._post, self.go, partial(self._ends, running))

    async def _place(self, running: Running) -> None:
        """Have the processes in a scope of their own, and a stop of that taken for a stop of the guest."""
        stop = partial(self._post, inputs.Command(Verb.STOP, "systemd", lasting=False))
        await running.placing.begin(partial(write_scope, self.host, running), self.notice, stop)
        await self.limit()

    async def _take_in(self, running: Running, pid: int) -> None:
        """Have a new helper where the others are."""
        try:
            await running.placing.add(pid)
        except QsupError as error:
            self.notice(f"pid {pid} is not held to the guest's limits: {error}")

    async def limit(self) -> None:
        """Hold the running guest to the limits that its file has now."""
        running = self.running
        if running is None:
            return
        try:
            changed = await running.placing.change(self.spec, partial(write_scope, self.host, running))
            if changed:
                self.notice("its limits are as its file has them now")
                if self.line is not None:
                    await self.line.pin()
        except QsupError as error:
            if running is self.running:
                self.notice(f"its limits stay as they were: {error}")

    async def _ends(self, running: Running) -> bool:
        """Whether the process is about to end, as so much else does that belongs to it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS), self.gone:
                await self.gone.wait_for(lambda: self.running is not running)
        return self.running is not running

    async def _watch(self, running: Running) -> None:
        """Wait for the end of the process, let its last events arrive first, and tell."""
        status = await running.process.wait()
        running.placing.look()
        line = self.line
        if line is not None:
            await line.ended(LAST_WORDS)
            self.go(line.close())
            self.line = None
        if status is None:
            # Whoever is the parent of an adopted one reaps it in a moment, and the cause may hang on that.
            status = await running.process.late_status(REAPING)
        # A new launch may want their ports and their state.
        await running.helpers.end()
        await self._take_back()
        self.go(running.placing.end())
        self.running, self._last, self.agent = None, running, None
        async with self.gone:
            self.gone.notify_all()
        self._post(await self._exited(running, status))
        if status is None:
            await self._learn_status(running)
        else:
            running.process.close()

    async def _take_back(self) -> None:
        """QEMU's user needs the guest's files no more."""
        if self.host.grants.has(self.spec.name):
            await asyncio.to_thread(self.host.grants.take_back, self.spec.name)

    async def _exited(self, running: Running, status: ExitStatus | None) -> inputs.Exited:
        """What is left of a process that has ended."""
        stderr = running.stderr()
        return inputs.Exited(
            status,
            stderr,
            oom=self._oom(running, status),
            host_down=await hoststate.ended_it(stderr),
            unit_stopped=hoststate.systemd_ended_it(stderr),
        )

    def _oom(self, running: Running, status: ExitStatus | None) -> str | None:
        """Whether the kernel has killed it for want of memory: the kernel's log names it, the cgroup only counts."""
        killed = status is None or (status.how == "signal" and status.number == SIGKILL)
        identity = running.process.identity
        told, counted = self.host.oom.of(identity.pid, identity.started), running.placing.kills
        return told or (str(counted) if killed and counted is not None else None)

    async def _learn_status(self, running: Running) -> None:
        """Tell the exit status of a process that has ended, once the kernel tells it; then forget the process."""
        try:
            late = await running.process.late_status()
            if late is not None:
                self._post(inputs.StatusKnown(late))
        finally:
            running.process.close()


def _alive(running: Running) -> Launch:
    """What a new daemon knows of a process that it has found alive."""
    return Launch(
        token=running.token,
        pid=running.process.pid,
        accel=running.record.accel,
        running_since=running.process.identity.started,
        adopted=True,
    )
