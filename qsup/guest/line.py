"""The line to one QEMU process: its QMP session, turned into inputs.

Commands go out one after the other; each is answered with QmpDone. Events that nobody decides on never reach the
inbox, and a QEMU that sends more of the others than any machine needs loses its line for a while: its guest may
have taken it over, and a flood would cost all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qsup import clock, endpoint
from qsup.argv.invocation import QMP_FILE
from qsup.bucket import Bucket
from qsup.errors import QmpError, QmpRefused
from qsup.guest.inputs import Happened, Input, Lost, QmpDone
from qsup.guest.pinning import QUESTIONS, is_pinned, placement
from qsup.proc import affinity
from qsup.qmp.session import QmpEvent, QmpSession

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable

    from qsup.guest.running import Running
    from qsup.histogram import Histogram
    from qsup.qmp.client import Observer

DECISIVE: Final = frozenset(
    {"RESUME", "STOP", "SHUTDOWN", "RESET", "GUEST_PANICKED", "GUEST_CRASHLOADED", "WATCHDOG"}
    | {"BLOCK_IO_ERROR", "BLOCK_IMAGE_CORRUPTED"}
)
"""The events that a step looks at."""
_MARKED: Final = re.compile(r"Marking image as corrupt: (.{1,200}?);")
"""What QEMU writes of it (``qcow2_signal_corruption``)."""
REPEATED: Final = 1.0
"""Seconds in which the same error of the same disk says nothing new: a guest may make thousands of them."""
BURST: Final = 400.0
"""Decisive events that may come at once."""
RATE: Final = 40.0
"""Decisive events a second, in the long run; a machine in a boot loop makes about 20."""

BELATED: Final = 200
"""Decisive events that are looked at of those that nobody listened to, the last ones."""


def budget() -> Bucket:
    """How many decisive events a guest may send; it outlives the session, so a new one is no new licence."""
    return Bucket(RATE, BURST)


def belated(events: Iterable[QmpEvent], running: Running) -> list[Happened]:
    """The decisive ones among events that nobody listened to; QEMU's log tells which resets were triple faults."""
    decisive = [event for event in events if event.name in DECISIVE][-BELATED:]
    faults = running.triple_faults() if any(map(_is_reset, decisive)) else []
    told = []
    # The log and the events meet at their ends: either may have lost its beginning.
    for event in reversed(decisive):
        if event.name == "RESET" and faults:
            faults.pop()
        told.append(Happened(event.name, event.data, _is_reset(event) and bool(faults) and faults[-1]))
    return told[::-1]


def _is_reset(event: QmpEvent) -> bool:
    return event.name == "RESET" or event.data.get("reason") == "guest-reset"


class Line:
    """One session and what goes through it."""

    def __init__(
        self,
        running: Running,
        budget: Bucket,
        post: Callable[[Input], None],
        panic: Callable[[], str | None],
        observer: Observer | None = None,
        latency: Histogram | None = None,
    ) -> None:
        self._observer = observer
        self._latency = latency
        self._running = running
        self._panic = panic
        self._disk_error: tuple[float, object, object] = (-REPEATED, None, None)
        self._budget = budget
        self._post = post
        self._session: QmpSession | None = None
        self._ended = asyncio.Event()
        self._queue: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    @staticmethod
    async def dial(running: Running) -> socket.socket:
        """A socket connected to the process's QMP server. Raises QmpError."""
        return await endpoint.connect(running.run_dir, QMP_FILE)

    async def open(self, qmp: socket.socket, deadline: float) -> None:
        """Shake hands. Raises QmpError."""
        self._session = await QmpSession.connect(
            qmp,
            on_event=self._event,
            on_lost=self._lost,
            deadline=deadline,
            observer=self._observer,
            latency=self._latency,
        )

    @property
    def session(self) -> QmpSession:
        """The session, for commands whose answers matter."""
        if self._session is None:
            raise QmpError("the session is not open")
        return self._session

    def say(self, command: str, arguments: dict[str, Any]) -> None:
        """Queue a command."""
        self._queue.put_nowait(partial(self._execute, command, arguments))

    def beside(self, deed: Callable[[], Awaitable[None]]) -> None:
        """Queue a deed that has its place between the commands. It raises nothing."""
        self._queue.put_nowait(deed)

    async def serve(self) -> None:
        """Send what is queued, in order, until the session has ended; then hang up. A daemon that leaves does not."""
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while not self._ended.is_set():
                queued = asyncio.ensure_future(self._queue.get())
                await asyncio.wait({queued, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not queued.done():
                    queued.cancel()
                    break
                await queued.result()()
        finally:
            ended.cancel()
        await self.session.close()

    async def _execute(self, command: str, arguments: dict[str, Any]) -> None:
        error = None
        try:
            await self.session.execute(command, arguments)
        except QmpError as refusal:
            error = str(refusal)
        if not self._ended.is_set():
            self._post(QmpDone(command, error))

    async def prepare(self) -> None:
        """What belongs to the launch: its commands, its threads on their CPUs. Raises QmpError at the first failure."""
        for command in self._running.record.commands:
            try:
                await self.session.execute(command.execute, command.arguments)
            except QmpError as error:
                raise QmpError(f"it did not execute {command.execute}: {error}") from error
        await self.pin()

    async def pin(self) -> None:
        """Put the threads where they are to run. Raises QmpError if one cannot be."""
        running = self._running
        if not is_pinned(running.spec):
            return
        vcpus, iothreads = [await self.session.execute(question) for question in QUESTIONS]
        pid = running.process.pid
        try:
            where = placement(running.spec, vcpus, iothreads, affinity.threads(pid))
            for thread, cpus in where.named.items():
                affinity.bind(pid, thread, cpus)
            for thread, cpus in where.others.items():
                with contextlib.suppress(ProcessLookupError):
                    affinity.bind(pid, thread, cpus)
        except OSError as error:
            raise QmpError(f"its threads cannot be put on their CPUs: {error.strerror or error}") from error

    async def run_state(self) -> str:
        """QMP's word for the state of the vCPUs. Raises QmpError."""
        answer = await self.session.execute("query-status")
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, str):
            raise QmpError("QEMU answered query-status with something else")
        if status == "io-error":
            await self._which_disk()
        return status[:40]

    async def _which_disk(self) -> None:
        """Tell of the disk that stopped the guest, for those who have missed QEMU's event."""
        blocks = await self.session.execute("query-block")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("io-status") in ("nospace", "failed"):
                inserted = block.get("inserted")
                node = inserted.get("node-name") if isinstance(inserted, dict) else None
                no_space = block["io-status"] == "nospace"
                data = {"node-name": node or block.get("qdev"), "nospace": no_space, "action": "stop"}
                self._post(Happened("BLOCK_IO_ERROR", data, late=True))

    async def missed(self) -> None:
        """Tell of images that were found damaged while nobody was there: QEMU has none of them any more.

        Raises QmpError.
        """
        try:
            blocks = await self.session.execute("query-block")
        except QmpRefused:
            return
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("removable") is False and "inserted" not in block:
                found = _MARKED.search(self._running.stderr())
                data = {"qom-path": block.get("qdev"), "fatal": True, "msg": found[1] if found else None}
                self._post(Happened("BLOCK_IMAGE_CORRUPTED", data, late=True))

    async def ended(self, patience: float) -> None:
        """Wait until the last event has arrived, but not longer than ``patience`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ended.wait()

    async def close(self, *, hang_up: bool = True) -> None:
        """End the session; without ``hang_up`` QEMU does not notice if systemd keeps the connection."""
        self._ended.set()
        if self._session is not None:
            await self._session.close(hang_up=hang_up)

    def replay(self, events: Iterable[QmpEvent]) -> None:
        """Take events that came while nobody listened as if they came now."""
        for event in belated(events, self._running):
            self._post(event)

    def _event(self, event: QmpEvent) -> None:
        if event.name not in DECISIVE or self._ended.is_set() or self._repeats(event):
            return
        if not self._budget.spend(clock.now()):
            self._hang_up("QEMU floods the supervisor with events")
            return
        printed = self._panic() if event.name == "GUEST_PANICKED" else None
        triple_fault = _is_reset(event) and self._running.saw_triple_fault()
        self._post(Happened(event.name, event.data, triple_fault, printed))

    def _repeats(self, event: QmpEvent) -> bool:
        if event.name != "BLOCK_IO_ERROR":
            return False
        at, node, action = self._disk_error
        now, data = clock.now(), event.data
        if now - at < REPEATED and (node, action) == (data.get("node-name"), data.get("action")):
            return True
        self._disk_error = (now, data.get("node-name"), data.get("action"))
        return False

    def _lost(self, reason: str) -> None:
        self._hang_up(reason)

    def _hang_up(self, reason: str) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._post(Lost(reason))
