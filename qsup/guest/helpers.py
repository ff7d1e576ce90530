"""The helpers of one launch: started before QEMU, watched, replaced where that is possible, ended after it."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Final

from qsup import endpoint
from qsup.argv.helper import Helper
from qsup.errors import QsupError
from qsup.guest.inputs import HelperExited
from qsup.guest.record import HelperRecord
from qsup.proc.follow import Speaker
from qsup.proc.helper import HelperProcess, connected, end
from qsup.proc.identity import find_helpers, helper_name

if TYPE_CHECKING:
    import contextlib
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from pathlib import Path
    from typing import Any

    from qsup.guest.inputs import Input
    from qsup.proc.account import Account
    from qsup.proc.bounded import Keeper
    from qsup.proc.identity import Identity
    from qsup.proc.process import Process
    from qsup.status import ExitStatus

log = logging.getLogger(__name__)

BY_QEMU: Final = frozenset({signal.SIGPIPE, signal.SIGTERM})
"""Signals that may end a helper because its QEMU has ended."""


class Helpers:
    """What the supervisor holds of them, by name."""

    def __init__(self, guest: str, run_dir: Path, token: str, keeper: Keeper) -> None:
        self.records: dict[str, HelperRecord] = {}
        self._guest = guest
        self._run_dir = run_dir
        self._token = token
        self._keeper = keeper
        self._living: dict[str, HelperProcess] = {}
        self._ending = False

    @property
    def pids(self) -> dict[str, int]:
        """The pids of those that run, by name."""
        return {name: one.process.pid for name, one in self._living.items() if not one.ended}

    def processes(self) -> list[Process]:
        """Those that run."""
        return [one.process for one in self._living.values() if not one.ended]

    def kill(self, name: str) -> None:
        """End one, for a drill."""
        if (one := self._living.get(name)) is not None:
            one.process.signal(signal.SIGKILL)

    async def start(
        self, planned: Iterable[Helper], ours: contextlib.ExitStack, account: Account | None
    ) -> dict[int, int]:
        """Start all at once and wait until they are ready; return what QEMU inherits, by its number there.

        Those that are as confined as QEMU run as its user, ``account``.
        Our copies of that are closed with ``ours``. Raises LaunchError or OSError; what was started by then is left
        for ``end``.
        """
        fds: dict[int, int] = {}
        asked = []
        for helper in planned:
            if helper.qemu_fd is None:
                await self._join(helper)
                continue
            with endpoint.listen(self._run_dir, helper.file) as listener:
                ours_end = ours.enter_context(await connected(self._run_dir, helper.file))
                asked.append((self._spawn(helper, listener, account), ours_end))
            fds[helper.qemu_fd] = ours_end.fileno()
        for one, ours_end in asked:
            await one.ready(ours_end)
            ours_end.setblocking(True)
        return fds

    async def _join(self, helper: Helper) -> HelperProcess:
        """Start a helper that gets a connection to the socket on which QEMU accepts, or will."""
        with await connected(self._run_dir, helper.file) as its_end:
            return self._spawn(helper, its_end)

    def _spawn(self, helper: Helper, its_end: socket.socket, account: Account | None = None) -> HelperProcess:
        one = HelperProcess.spawn(helper, self._run_dir, self._token, its_end, account)
        self._hold(one, anew=True)
        return one

    def _hold(self, one: HelperProcess, *, anew: bool) -> None:
        name = one.helper.name
        self._living[name] = one
        self.records[name] = HelperRecord(helper=one.helper, identity=one.process.identity)
        speaker = Speaker(self._guest, one.process.pid, name)
        self._keeper.watch(self._run_dir / one.helper.log, speaker, anew=anew)

    def adopt(self, written: Iterable[HelperRecord], runtime: Path) -> None:
        """Find those of an earlier daemon's launch again; ``runtime`` is the guest's runtime directory."""
        found: dict[str, Identity] | None = None
        for kept in written:
            self.records[kept.helper.name] = kept
            one = kept.identity and HelperProcess.adopt(kept.helper, kept.identity, self._run_dir)
            if not one:
                # The last daemon may have died between a start and the record of it.
                found = self._marked(runtime) if found is None else found
                identity = found.get(kept.helper.name)
                one = identity and HelperProcess.adopt(kept.helper, identity, self._run_dir)
            if one:
                self._hold(one, anew=False)

    def _marked(self, runtime: Path) -> dict[str, Identity]:
        marked = [identity for identity in find_helpers(runtime) if identity.token == self._token]
        # Of a helper and the child that it has put into a sandbox, the elder is meant.
        marked.sort(key=lambda identity: (identity.start_time, identity.pid), reverse=True)
        return {helper_name(identity.pid): identity for identity in marked}

    def attend(
        self,
        post: Callable[[Input], None],
        go: Callable[[Coroutine[Any, Any, None]], object],
        qemu_ends: Callable[[], Awaitable[bool]],
    ) -> None:
        """Watch them all from now on, in tasks that ``go`` starts; their ends are posted.

        ``qemu_ends`` waits for a moment and tells whether QEMU is ending as well: then that is no end of theirs.
        """
        self._post, self._go, self._qemu_ends = post, go, qemu_ends
        for name, kept in self.records.items():
            one = self._living.get(name)
            go(self._watch(one) if one is not None else self._miss(kept.helper))

    async def _watch(self, one: HelperProcess) -> None:
        status = await one.wait()
        if not _by_itself(status) and await self._qemu_ends():
            return
        if not self._ending and self._living.get(one.helper.name) is one:
            del self._living[one.helper.name]
            one.close()
            self._tell(one.helper, status, one.words())

    async def _miss(self, helper: Helper) -> None:
        """It ended while no daemon was there."""
        if not await self._qemu_ends() and not self._ending:
            self._tell(helper, None, "")

    def _tell(self, helper: Helper, status: ExitStatus | None, stderr: str) -> None:
        self._post(HelperExited(helper.name, status, stderr, replaceable=helper.replaceable))

    async def replace(
        self,
        name: str,
        save: Callable[[], None],
        told: Callable[[str], None],
        take_in: Callable[[int], Awaitable[None]],
    ) -> None:
        """Start a helper anew under the running QEMU; ``save`` writes down who it is, ``told`` gets a sentence.

        ``take_in`` has its pid put where QEMU is. What goes wrong is posted.
        """
        helper = self.records[name].helper
        if self._ending or name in self._living:
            return
        try:
            one = await self._join(helper)
            save()
            await take_in(one.process.pid)
        except (QsupError, OSError) as error:
            self._post(HelperExited(helper.name, None, str(error), replaceable=True, started=False))
            return
        told(f"{one} is there again: its pid is {one.process.pid}")
        self._go(self._watch(one))

    async def end(self) -> None:
        """End all that are left, with whatever they have started, and wait for that."""
        self._ending = True
        await end(self._living.values())
        self._living.clear()

    def close(self) -> None:
        """Forget them; they go on running."""
        self._ending = True
        for one in self._living.values():
            one.close()


def _by_itself(status: ExitStatus | None) -> bool:
    """Whether it has surely not ended because QEMU had."""
    if status is None:
        return False
    return status.number not in BY_QEMU if status.how == "signal" else status.number != 0


async def reclaim(written: Iterable[HelperRecord], run_dir: Path, *, search: Path | None) -> None:
    """End what is left of the helpers of a QEMU that is gone; with ``search``, all marked ones below that as well.

    Helpers end with their QEMU, so there is something to do only if one of them hangs.
    """
    meant = [(kept.helper, kept.identity) for kept in written if kept.identity is not None]
    known = {identity.pid for _, identity in meant}
    marked = find_helpers(search) if search is not None else ()
    meant += [
        (Helper(helper_name(identity.pid) or "helper", ("?",)), identity)
        for identity in marked
        if identity.pid not in known
    ]
    left = [one for helper, identity in meant if (one := HelperProcess.adopt(helper, identity, run_dir))]
    for one in left:
        log.info("%s of a QEMU that is gone, pid %d, is ended", one, one.process.pid)
    await end(left)
