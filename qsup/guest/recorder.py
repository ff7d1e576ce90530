"""The black box of one guest: what was last heard of it, and the bundle that is made of that."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import clock
from qsup.blackbox import core
from qsup.blackbox.bundle import Crash
from qsup.blackbox.figures import figures
from qsup.blackbox.patience import patiently
from qsup.blackbox.rings import Rings
from qsup.blackbox.screenshot import screenshot
from qsup.errors import QmpError, QsupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qsup.blackbox.shelf import Shelf
    from qsup.guest.effects import Collect
    from qsup.guest.line import Line
    from qsup.guest.running import Running
    from qsup.guest.state import State
    from qsup.proc.console import Console

log = logging.getLogger(__name__)

CONSOLE: Final = 64 << 10
"""Bytes of each console that go with a bundle."""
STDERR: Final = 64 << 10
"""Bytes of QEMU's stderr, likewise."""
LOOK: Final = 1.0
"""Seconds that the file system which core dumps go to may take to answer."""
PICTURE: Final = 3.0
"""Seconds that a bundle waits for a picture that is being taken."""


class Recorder:
    """``tell`` gets a sentence for each bundle; ``shelf`` keeps them."""

    def __init__(self, shelf: Shelf, tell: Callable[[str], None]) -> None:
        self.rings = Rings()
        self._shelf = shelf
        self._tell = tell
        self._picture: asyncio.Future[bytes | None] | None = None

    def begin(self) -> None:
        """Another process begins."""
        self.rings.renew()
        self._picture = None

    def picture(self, line: Line | None, running: Running | None) -> None:
        """Have a picture taken, after the commands that are queued; the next bundle waits for it."""
        if line is None or running is None:
            return
        taken: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._picture = taken

        async def take() -> None:
            image = None
            with contextlib.suppress(QmpError):
                image = await screenshot(line.session, running.run_dir)
            if not taken.done():
                taken.set_result(image)

        line.beside(take)

    async def _taken(self) -> bytes | None:
        picture, self._picture = self._picture, None
        if picture is None:
            return None
        await asyncio.wait({picture}, timeout=PICTURE)
        return picture.result() if picture.done() else None

    def crash(
        self, wish: Collect, state: State, running: Running, consoles: Mapping[str, Console], *, alive: bool
    ) -> Crash:
        """What is known at this moment, without what takes time to find out."""
        ended = None if alive else state.last_end
        since = clock.wall() - clock.now()
        return Crash(
            id=wish.id,
            guest=running.spec.name,
            at=clock.wall(),
            cause=wish.cause,
            detail=wish.detail,
            evidence=wish.evidence,
            decision=wish.decision,
            spec=running.spec,
            argv=running.record.argv,
            pid=running.process.pid,
            status=ended.status if ended else None,
            started=since + running.process.identity.started,
            ran=ended.ran if ended else None,
            accel=running.record.accel,
            machine=running.record.machine,
            stderr=running.stderr(STDERR).encode(errors="surrogateescape"),
            consoles={serial: console.tail(CONSOLE) for serial, console in consoles.items()},
            remembered=self.rings.remembered(),
            panic=wish.panic,
            figures={"cgroup": running.placing.figures} if running.placing.figures else {},
        )

    async def keep(self, crash: Crash, *, alive: bool) -> None:
        """Find out the rest, and keep the bundle; if the daemon leaves meanwhile, what is known by then is kept."""
        try:
            whole = await self._whole(crash, alive=alive)
        except asyncio.CancelledError:
            self._shelf.begin(crash)
            raise
        try:
            kept = await self._shelf.write(whole)
        except QsupError as error:
            self._tell(f"no bundle could be made: {error}")
            return
        if kept is not None:
            self._tell(str(kept))

    async def _whole(self, crash: Crash, *, alive: bool) -> Crash:
        """The crash with what takes time to find out."""
        images = [disk.file for disk in crash.spec.disk.values() if disk.file]
        found: dict[str, Any] = await figures(crash.pid if alive else None, images)
        binary = crash.argv[0] if crash.argv else ""
        since = crash.started or 0.0
        dump = None
        if not alive and crash.pid is not None:
            look = partial(core.locate, crash.status, crash.pid, binary=binary, since=since)
            with contextlib.suppress(TimeoutError):
                dump = await patiently(look, LOOK)
        found = {**crash.figures, **found}
        return msgspec.structs.replace(crash, figures=found, core=dump, screen=await self._taken())
