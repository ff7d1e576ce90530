"""The rules that hold now, and who is who: what the daemon asks before it obeys."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from qsup import clock
from qsup.access import accounts
from qsup.threads import Threads, TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsup.access.peer import Peer
    from qsup.access.rules import Rules, Standing
    from qsup.spec.tables.access import Access as Entry

log = logging.getLogger(__name__)

LOOKUPS: Final = 4
"""Look-ups that may be under way, should the name service hang."""
PATIENCE: Final = 2.0
"""Seconds that the name service has to tell a user's name, which is only for messages."""
LONG: Final = 20.0
"""Seconds that it has for all names of the file."""
KEPT: Final = 60.0
"""Seconds for which a name that was found is good."""
NAMES: Final = 1024
"""Names that are remembered."""


class Access:
    """Who may do what. ``file`` is where it is written, for messages; until :meth:`apply`, owners only."""

    def __init__(self, file: str) -> None:
        self._threads = Threads(LOOKUPS, "accounts")
        self._names: dict[int, tuple[float, str | None]] = {}
        self._rules = accounts.closed(file)
        self.watchers: list[Callable[[], None]] = []
        """Called when other rules hold than before."""

    @property
    def rules(self) -> Rules:
        """The rules that hold now."""
        return self._rules

    async def apply(self, entries: Sequence[Entry] | None) -> None:
        """Let these entries of the file hold from now on; for None, which is an unreadable file, owners only."""
        file = self._rules.file
        if entries is None:
            self._rules = accounts.closed(file)
            log.warning(
                "%s cannot be used: until it is mended, only root and the daemon's user are obeyed", file
            )
        else:
            try:
                async with asyncio.timeout(LONG):
                    self._rules, unknown = await self._threads.call(partial(accounts.rules, entries, file))
            except (TimeoutError, TooMany, OSError):
                log.warning(
                    "%s: the host's name service does not answer: whoever could do something before still can, and"
                    " nobody else, until `qsup reload`",
                    file,
                )
                return
            for one in unknown:
                log.warning("%s: access[%d].%s: %s", file, one.number, one.key, one.message)
        for watcher in self.watchers:
            watcher()

    def standing(self, peer: Peer) -> Standing:
        """What a peer may do now."""
        return self._rules.standing(peer.who)

    async def named(self, peer: Peer) -> Peer:
        """The peer with its user's name, if that can be had in time."""
        now = clock.now()
        known = self._names.get(peer.uid)
        if known is None or now - known[0] > KEPT:
            known = now, await self._name(peer.uid)
            if len(self._names) >= NAMES:
                self._names.clear()
            self._names[peer.uid] = known
        return peer._replace(name=known[1])

    async def _name(self, uid: int) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._threads.call(partial(accounts.user_of, uid))
        except (TimeoutError, TooMany, OSError):
            return None
