"""Where the processes of one launch are among the host's cgroups, and how they are limited.

A guest with limits does not run before it is held to them: its processes are moved while QEMU initialises, which takes
about as long. All others are moved as soon as they run, so that their start is as quick as without, and they run on if
they cannot be moved.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from qsup.argv.process import uuid_of
from qsup.blackbox.figures import of_cgroup
from qsup.errors import ScopeError
from qsup.guest.ladder import need
from qsup.proc import cgroup, memory
from qsup.proc.family import family
from qsup.scope.ground import Way
from qsup.scope.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsup.proc.process import Process
    from qsup.scope.kills import Kills
    from qsup.scope.scopes import Scopes
    from qsup.scope.wish import Scope
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.limits import Limits

MARGIN: Final = 10.0
"""Seconds that systemd waits longer for a guest which it wants stopped than the guest's stop ladder takes."""


class Placing:
    """``spec`` is what was launched; ``scope`` and ``limits`` are what an earlier daemon has come to."""

    def __init__(
        self,
        spec: GuestSpec,
        scopes: Scopes,
        process: Process,
        helpers: Callable[[], Sequence[Process]],
        scope: Scope | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.scope = scope
        self.limits = limits or spec.limits
        """What holds now, or will as soon as there is a scope."""
        self.figures: dict[str, Any] = {}
        """The last figures of the cgroup of a guest that has ended, as far as they could still be read."""
        self.kills: Kills | None = None
        """What the kernel has killed in it for want of memory, as of that moment."""
        self._spec = spec
        self._scopes = scopes
        self._process = process
        self._helpers = helpers
        self._trouble: ScopeError | None = None
        self._settled = asyncio.Event()
        self._changing = asyncio.Lock()
        self._watched = contextlib.ExitStack()

    @property
    def urgent(self) -> bool:
        """Whether the move begins with QEMU: with limits, and where memory taken at once would count elsewhere."""
        memory = self._spec.memory
        return self._wants_limits(self.limits) or memory.prealloc or memory.lock

    async def begin(
        self, save: Callable[[], None], tell: Callable[[str], None], stop: Callable[[], None]
    ) -> None:
        """Put the processes where they belong, or find them there.

        ``save`` writes down what has come of it, ``tell`` gets a sentence, ``stop`` is called when somebody wants
        systemd to stop the guest.
        """
        try:
            async with self._changing:
                if not self._process.ended and not self._is_in_place():
                    await self._put(self.limits)
                    save()
        except ScopeError as error:
            self._trouble = error
            if not self._process.ended and not self._wants_limits(self.limits):
                tell(f"{error}; it runs in the daemon's cgroup")
        except Exception as error:
            self._trouble = ScopeError(f"a bug in qsup, see the daemon's log: {error!r}")
            raise
        finally:
            self._settled.set()
        if self.scope is not None:
            if self.scope.directory is not None:
                self._scopes.kills.begin(self.scope.directory)
            self._watched.enter_context(self._scopes.stops(self.scope, stop))
            await self._scopes.enter(self._wish(self.limits), self.scope, self._process.pid)

    async def held(self) -> None:
        """Wait until the guest may run. Raises ScopeError if it cannot be limited as it should be."""
        if self._wants_limits(self.limits):
            await self._settled.wait()
            if self._trouble is not None:
                raise self._trouble

    def _is_in_place(self) -> bool:
        if self.scope is None:
            return False
        pid = self._process.pid
        if self.scope.way is Way.SYSTEMD:
            return cgroup.unit_of(pid) == self.scope.name
        return cgroup.directory_of(pid) == self.scope.directory

    async def _put(self, limits: Limits) -> None:
        if limits.oom_score_adjust is not None:
            self._adjust_oom_score(limits.oom_score_adjust)
        with family([self._process, *self._helpers()]) as pids:
            self.scope = await self._scopes.put(self._wish(limits), self._process.pid, pids)
        if self.scope is None and limits.in_cgroup:
            raise ScopeError(f"it cannot be limited: {self._scopes.ground().why}")

    def _adjust_oom_score(self, value: int) -> None:
        with family([self._process, *self._helpers()]) as pids:
            for pid in pids:
                try:
                    memory.adjust_oom_score(pid, value)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                except OSError as error:
                    told = f"limits.oom-score-adjust cannot be {value}: {error.strerror}"
                    raise ScopeError(told) from error

    def _wish(self, limits: Limits) -> Wish:
        spec = self._spec
        return Wish(
            guest=spec.name,
            description=f"Guest {spec.name}" + (f" - {spec.description}" if spec.description else ""),
            uuid=UUID(uuid_of(spec)),
            limits=limits,
            disks={name: disk.file for name, disk in spec.disk.items() if disk.file is not None},
            patience=need(spec) + MARGIN,
        )

    @staticmethod
    def _wants_limits(limits: Limits) -> bool:
        return limits.in_cgroup or limits.oom_score_adjust is not None or limits.slice is not None

    async def change(self, spec: GuestSpec, save: Callable[[], None]) -> bool:
        """Have the limits of an edited file hold, as far as they can without a restart; whether any has changed.

        Raises ScopeError, and then those from before hold on.
        """
        async with self._changing:
            old = self.limits
            new = msgspec.structs.replace(
                spec.limits, slice=old.slice, numa_policy=old.numa_policy, numa_mask=old.numa_mask
            )
            if new == old or self._process.ended:
                return False
            for path, why in self._scopes.ground().lacks(msgspec.structs.replace(spec, limits=new)):
                raise ScopeError(f"{'.'.join(map(str, path))}: {why}")
            if new.oom_score_adjust != old.oom_score_adjust:
                usual = memory.own_oom_score_adjust()
                self._adjust_oom_score(usual if new.oom_score_adjust is None else new.oom_score_adjust)
            if self.scope is not None:
                await self._scopes.change(self.scope, old, new, self._wish(new).disks)
            elif new.in_cgroup:
                await self._put(new)
            self.limits = new
            save()
            return True

    async def add(self, pid: int) -> None:
        """Take in a helper that was started later. Raises ScopeError."""
        if self.scope is not None:
            await self._scopes.add(self.scope, [pid])

    def look(self) -> None:
        """Have a last look at the cgroup, as the guest has just ended: it may be gone in the next moment."""
        if self.scope is not None and self.scope.directory is not None:
            self.figures = of_cgroup(self.scope.directory)
            self.kills = self._scopes.kills.look(self.scope.directory)

    async def end(self) -> None:
        """The processes have ended: remove what is left."""
        self.forget()
        if self.scope is not None:
            await self._scopes.left(self._spec.name, self.scope)

    def forget(self) -> None:
        """Hear nothing more; processes and scope stay."""
        self._watched.close()
