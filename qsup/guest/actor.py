"""One guest's actor: takes inputs out of the inbox one by one, lets ``step`` decide, performs the effects.

The only place where effects become deeds. All that it starts are tasks of its own task group; when it is
cancelled they end with it, and QEMU goes on running.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, assert_never

from qsup import clock
from qsup.errors import GuestNotFound, QmpError, QsupError, RecordError, Refused
from qsup.events import Kind
from qsup.guest import effects as do
from qsup.guest import inputs, record
from qsup.guest.duties import duties
from qsup.guest.hands import Hands
from qsup.guest.measured import Measured
from qsup.guest.operations import Operations
from qsup.guest.restore import wants_start
from qsup.guest.state import State
from qsup.guest.step import step
from qsup.guest.timers import Timers
from qsup.guest.turn import REWRITE, Env
from qsup.guest.watching import Watching
from qsup.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from qsup.guest.host import Host
    from qsup.guest.running import Running
    from qsup.phase import Verb
    from qsup.proc.console import Console
    from qsup.spec.model import GuestSpec

log = logging.getLogger(__name__)

AGENT_ANSWER = 30.0
"""Seconds that the guest's agent has for a command of an operator: freezing file systems may take a while."""
PATIENCE = 2.0
"""Seconds that a disk has to take a state; a guest that is to be stopped does not wait longer for it."""
REWRITE_AFTER = 5.0
"""Seconds until a state that could not be written is written again."""


class Actor:
    """The life of one guest. ``run`` is its task; ``post`` and ``ask`` are its doors."""

    def __init__(self, spec: GuestSpec, host: Host) -> None:
        self.host = host
        self.state = State(since=clock.now(), since_wall=clock.wall())
        self.operations = Operations(self._go, self._wake)
        self.hands = Hands(spec, host, self.post, self._go, self.operations)
        self.restored = asyncio.Event()
        """Set once the actor knows whether its process lives."""
        self.same_boot = True
        self._watching = Watching(self.hands, self.post, lambda: self.state, self.until)
        self._timers = Timers(lambda name: self.post(inputs.Timer(name)))
        self._inbox: asyncio.Queue[tuple[inputs.Input, asyncio.Future[str] | None]] = asyncio.Queue()
        self._watchers: set[asyncio.Future[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        self._over = False
        self._tasks: asyncio.TaskGroup
        self._random = random.Random()  # noqa: S311 - jitter, not secrets

    # Doors

    @property
    def spec(self) -> GuestSpec:
        """What the guest's file says now."""
        return self.hands.spec

    @spec.setter
    def spec(self, spec: GuestSpec) -> None:
        limits, self.hands.spec = self.hands.spec.limits, spec
        if limits != spec.limits and self.running is not None:
            self._go(self.hands.limit())
        self._watching.look(duties(self.state, spec))

    @property
    def running(self) -> Running | None:
        """What is held of its process, if there is one."""
        return self.hands.running

    def post(self, happened: inputs.Input) -> None:
        """Tell the guest that something has happened."""
        self._inbox.put_nowait((happened, None))

    async def ask(self, wish: inputs.Input) -> str:
        """Tell it an operator's wish; return what was accepted, as a sentence. Raises Refused."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((wish, answer))
        return await answer

    async def command(self, verb: Verb, by: str) -> str:
        """Ask for a verb; return what was accepted, as a sentence. Raises Refused."""
        return await self.ask(inputs.Command(verb, by))

    async def qmp(self, command: str, arguments: dict[str, Any], deadline: float | None = None) -> Any:
        """Execute a QMP command for an operator. Raises QmpError."""
        if self.hands.line is None:
            raise QmpError(f"{self.spec.name} is {self.state.phase}: there is no QMP session to it")
        return await self.operations.execute(self.hands.line.session, command, arguments, deadline)

    async def ask_agent(self, command: str, arguments: dict[str, Any]) -> Any:
        """Execute a command of the guest's agent for an operator. Raises QmpError."""
        if self.hands.agent is None:
            why = "it has no agent channel" if self.running else f"it is {self.state.phase}"
            raise QmpError(f"{self.spec.name}: {why}, so no agent can be asked")
        answer = await self.hands.agent.execute(command, arguments, deadline=AGENT_ANSWER)
        self.operations.asked_agent(command)
        return answer

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
        return self.hands.line.session.version if self.hands.line else None

    @property
    def measured(self) -> Measured:
        """What is to be measured of it."""
        running, line = self.running, self.hands.line
        return Measured(
            spec=self.spec,
            state=self.state,
            launched=running.spec if running else None,
            machine=running.record.machine if running else None,
            identity=running.process.identity if running else None,
            session=line.session if line else None,
            condition=self._watching.condition,
            latency=self.hands.latency.counted(),
        )

    def settled(self) -> bool:
        """Whether no process lives, or it has answered, or it is known not to."""
        return self.running is None or self.state.connected or self.state.phase is Phase.UNREACHABLE

    @property
    def wants_start(self) -> bool:
        """Whether it is to be started as the daemon starts."""
        return wants_start(self.state, autostart=self.spec.autostart, same_boot=self.same_boot)

    @property
    def due(self) -> bool:
        """Whether it is to be started when somebody wants everything to run that should."""
        return self.wants_start or (self.state.phase is Phase.STOPPED and self.state.leave is not None)

    def console(self, serial: str) -> Console:
        """The supervisor's end of a serial port of the declared or running guest."""
        return self.hands.console(serial)

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
            self._timers.close()
            await self.hands.close()

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

    async def _restore(self) -> None:
        """Find out what the last daemon left, and what became of it."""
        try:
            kept = record.read_state(self.host.state_file(self.spec.name))
        except RecordError as error:
            self.hands.notice(str(error))
            kept = None
        shift = 0.0
        if kept is not None:
            self.state = kept.state
            self.same_boot = kept.boot_id == self.host.boot_id
            shift = 0.0 if self.same_boot else kept.shift(clock.now(), clock.wall())
        await self._take(await self.hands.restore(shift, same_boot=self.same_boot), None)

    async def _take(self, happened: inputs.Input, answer: asyncio.Future[str] | None) -> None:
        """One input: decide, perform, wake those who wait. A bug in here must not take the other guests along."""
        try:
            bundles = self.host.shelf.limits.per_guest > 0
            env = Env(clock.now(), clock.wall(), self._random.random(), self.spec, bundles)
            new, effects = step(self.state, happened, env)
            await self._perform(new, effects, answer)
            self._watching.look(duties(self.state, self.spec))
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

    async def _perform(
        self, new: State, effects: list[do.Effect], answer: asyncio.Future[str] | None
    ) -> None:
        """Do the deeds, then take on the new state, then announce it: nobody sees it before it is written down.

        Only that a process has ended is told before.
        """
        try:
            for effect in effects:
                match effect:
                    case do.Publish(Kind.ENDED):
                        self._say(effect, answer)
                    case do.Publish() | do.Reply():
                        self.state = new
                        self._say(effect, answer)
                    case do.Arm(name, seconds):
                        self._timers.arm(name, seconds)
                    case do.Cancel(name):
                        self._timers.cancel(name)
                    case do.Persist():
                        await self._persist(new)
                    case _:
                        self._handle(effect, new)
        finally:
            self.state = new

    def _say(self, word: do.Publish | do.Reply, answer: asyncio.Future[str] | None) -> None:
        """Announce an event, or answer the operator."""
        match word:
            case do.Publish(kind, data):
                event = self.host.bus.publish(kind, name=self.spec.name, **data)
                self.hands.recorder.rings.happened(event)
            case do.Reply(text, refused) if answer is not None and not answer.done():
                if refused:
                    answer.set_exception(Refused(f"{self.spec.name}: {text}"))
                else:
                    answer.set_result(text)
            case _:
                return

    def _handle(self, deed: do.Deed, state: State) -> None:
        """What is done to the process."""
        match deed:
            case do.Spawn():
                self._go(self.hands.launch())
            case do.Connect():
                self._go(self.hands.connect())
            case do.Qmp(command, arguments):
                self.hands.say(command, arguments)
            case do.QueryStatus():
                self._go(self.hands.query_status())
            case do.AskAgent(mode):
                self._go(self.hands.ask_agent(mode))
            case do.Signal(number):
                self.hands.signal(number)
            case do.StartHelper(name):
                self.hands.start_helper(name)
            case do.Picture():
                self.hands.picture()
            case do.Collect():
                self.hands.collect(deed, state)
            case _:
                assert_never(deed)

    def _go(self, deed: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside the loop, as a task that ends with the actor."""
        task = self._tasks.create_task(self._contained(deed))
        # One that is cancelled before it has begun would leave the deed unawaited.
        task.add_done_callback(lambda _: deed.close())
        return task

    async def _contained(self, deed: Coroutine[Any, Any, None]) -> None:
        """A bug in a deed must not take the other guests along."""
        try:
            await deed
        except Exception:
            log.exception("%s: a bug in qsup: %s failed", self.spec.name, getattr(deed, "__name__", "a deed"))
            self.hands.notice(
                "a bug in qsup, see the daemon's log; its QEMU, if there is one, is not touched"
            )

    async def _persist(self, state: State) -> None:
        """Have the state written down; a disk that does not answer is waited for only so long."""
        if self._writing is not None:
            # One write at a time: an older state must not replace a newer one.
            await asyncio.wait({self._writing}, timeout=PATIENCE)
        if self._writing is None or self._writing.done():
            self._writing = self._go(self._write(state))
            await asyncio.wait({self._writing}, timeout=PATIENCE)
        if not self._writing.done():
            self._unwritten(f"the disk has not answered within {PATIENCE:g} s")

    async def _write(self, state: State) -> None:
        written = record.StateRecord(
            boot_id=self.host.boot_id, now=clock.now(), wall=clock.wall(), state=state
        )
        try:
            await asyncio.to_thread(record.write, self.host.state_file(self.spec.name), written)
        except OSError as error:
            self._unwritten(str(error))

    def _unwritten(self, why: str) -> None:
        # The guest is more important than its record: go on, aloud.
        self.hands.notice(
            f"its state cannot be written ({why}); it is tried again, until then a new daemon knows less"
        )
        self._timers.arm(REWRITE, REWRITE_AFTER)
