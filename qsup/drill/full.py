"""A disk of a running guest that is full, for a drill, while the host's disk is not.

The next write to the image's file fails with ENOSPC, in QEMU's block layer (its ``blkdebug`` driver), so that all that
follows is as on a host whose disk is full; no other guest and no other process meets it. It is that one write alone: if
the daemon dies in the middle of the drill, the next one finds room.
"""

from __future__ import annotations

import contextlib
import errno
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

from qsup.errors import QsupError, Refused

if TYPE_CHECKING:
    from qsup.guest.actor import Actor
    from qsup.guest.running import Running

NODE: Final = "qsup-drill"


class Full:
    """Use it as a context manager: whatever happens, the disk is as it was at the end."""

    def __init__(self, actor: Actor, running: Running) -> None:
        self._actor = actor
        disk = next(name for name, disk in running.spec.disk.items() if disk.file and not disk.read_only)
        self._node = f"disk-{disk}"
        self._options = _node(running.record.argv, self._node)
        self._begun = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(QsupError):
            await self.end()

    async def begin(self) -> None:
        """There is no room for the next write. Raises QmpError."""
        # A daemon that died in a drill has left its node there.
        with contextlib.suppress(QsupError):
            await self._take_out()
        injected = {"event": "none", "iotype": "write", "errno": errno.ENOSPC, "once": True}
        below = {
            "driver": "blkdebug",
            "node-name": NODE,
            "image": self._options["file"],
            "inject-error": [injected],
        }
        await self._actor.qmp("blockdev-add", below)
        self._begun = True
        await self._actor.qmp("blockdev-reopen", {"options": [{**self._options, "file": NODE}]})

    async def end(self) -> None:
        """There is room again. May be called again. Raises QmpError."""
        if self._begun:
            self._begun = False
            await self._take_out()

    async def _take_out(self) -> None:
        await self._actor.qmp("blockdev-reopen", {"options": [self._options]})
        await self._actor.qmp("blockdev-del", {"node-name": NODE})


def _node(argv: tuple[str, ...], name: str) -> dict[str, Any]:
    """The options of a block node, as QEMU was started with them. Raises Refused if they cannot be found."""
    for flag, value in pairwise(argv):
        if flag == "-blockdev":
            options = json.loads(value)
            if options.get("node-name") == name and "file" in options:
                return dict(options)
    raise Refused(f"QEMU's command line names no node {name}")
