"""How many may be connected, and who has to wait for whom: nobody can keep those out, or waiting, who matter more.

The daemon's owners, those whom the configuration names, and everybody else have places of their own each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final

from qsup import clock
from qsup.errors import QsupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qsup.access.peer import Peer
    from qsup.access.rules import Rules
    from qsup.control.limits import Limits

REST: Final = 3.0
"""For how many times as long as an answer to one of everybody took, none of them is answered."""
LONGEST_REST: Final = 1.0
"""Seconds of that at most."""


class Room:
    """The places of one sort of clients; ``is_shared``: they are answered one after the other, with rests between."""

    def __init__(self, *, is_shared: bool) -> None:
        self.taken: Counter[int] = Counter()
        """Connections of each user."""
        self._is_shared = is_shared
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """As long as an answer is made."""
        if not self._is_shared:
            yield
            # Whatever a client has sent ahead, others have their turn between two of its commands.
            await asyncio.sleep(0)
            return
        async with self._turn:
            began = clock.now()
            yield
            await asyncio.sleep(min(REST * (clock.now() - began), LONGEST_REST))


class Places:
    """All rooms."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._owners, self._named = Room(is_shared=False), Room(is_shared=False)
        self._everybody = Room(is_shared=True)

    def room(self, peer: Peer, rules: Rules) -> Room:
        """Where a peer belongs."""
        if rules.is_owner(peer.who):
            return self._owners
        grants = rules.standing(peer.who).grants
        return self._everybody if all(grant.is_for_everybody for grant in grants) else self._named

    def take(self, room: Room, peer: Peer) -> QsupError | None:
        """Take a place for a peer; why there is none, if there is none."""
        if room.taken.total() >= self._limits.clients:
            return QsupError(f"there are {self._limits.clients} clients already; try again later")
        if room is not self._owners and room.taken[peer.uid] >= self._limits.each:
            return QsupError(f"uid {peer.uid} has {self._limits.each} connections already; try again later")
        room.taken[peer.uid] += 1
        return None

    def leave(self, room: Room, peer: Peer) -> None:
        """Give a place back."""
        room.taken[peer.uid] -= 1
        if not room.taken[peer.uid]:
            del room.taken[peer.uid]
