"""Who gives commands over a connection, and what it may do at this moment: the rules may change while it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qsup.access.rules import lacks
from qsup.control.selection import matching
from qsup.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.access.access import Access
    from qsup.access.peer import Peer
    from qsup.access.rules import Standing
    from qsup.control.commands import Command


class Caller:
    """A peer before the rules. As text it is who it is, for logs and histories."""

    def __init__(self, peer: Peer, access: Access) -> None:
        self.peer = peer
        self._access = access

    def __str__(self) -> str:
        return str(self.peer)

    async def identify(self) -> None:
        """Find out what its user is called."""
        self.peer = await self._access.named(self.peer)

    @property
    def standing(self) -> Standing:
        """What it may do now."""
        return self._access.standing(self.peer)

    def check_known(self) -> None:
        """Raise NotAllowed if nothing at all is granted to it."""
        if not self.standing.grants:
            raise NotAllowed(
                f"not allowed: to {self} nothing is granted here; an [[access]] in {self._access.rules.file} does that."
                " Who has just become a member of a group has to log in again"
            )

    def check(self, command: Command, guests: Sequence[str] | None) -> None:
        """Raise GuestNotFound for a guest that it does not see, NotAllowed if it may not give the command.

        ``guests`` are those that the command is about; None: none in particular.
        """
        standing = self.standing
        for guest in guests or ():
            standing.check_sees(guest)
        if guests is None and not command.OF_HOST:
            self.check_known()
            return
        lacking = lacks(standing, command.needs, guests, self._access.rules.file)
        if lacking is not None:
            raise NotAllowed(f"not allowed: {self} may not give {command.NAME} {lacking}")


class Asked(NamedTuple):
    """What is asked of a handler beside the command itself."""

    caller: Caller
    standing: Standing
    """What the caller may do, as the command was admitted."""
    visible: list[str]
    """All guests of which the caller is to know."""
    guests: list[str]
    """Those that the command is about, all of them such that the caller may give it."""

    @property
    def by(self) -> str:
        """Who asks, for the guest's history."""
        return str(self.caller)

    def matching(self, globs: Sequence[str] | None) -> list[str]:
        """The visible guests that globs match, or all for None. Raises GuestNotFound."""
        names = matching(self.visible, globs)
        for name in names:
            self.standing.check_sees(name)
        return names
