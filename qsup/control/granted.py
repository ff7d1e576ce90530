"""What a caller may do: the answer to ``query-access``, and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from qsup.control.results import Result, Text
from qsup.control.text import printable, table

if TYPE_CHECKING:
    from qsup.control.caller import Caller


class Granted(Result, frozen=True):
    """Something that the caller may do: a role and rights, with which guests, and where that is said."""

    role: str
    guests: tuple[str, ...]
    rights: tuple[str, ...]
    source: str


class Access(Result, frozen=True):
    """Who the caller is to the daemon, and what it may do; ``user`` is None if its number has no name."""

    user: str | None
    uid: int
    gids: tuple[int, ...]
    pid: int
    granted: tuple[Granted, ...]

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """What the rules say now."""
        peer = caller.peer
        granted = tuple(
            Granted(role=one.role, guests=one.guests, rights=tuple(sorted(one.rights)), source=one.source)
            for one in caller.standing.grants
        )
        return cls(user=peer.name, uid=peer.uid, gids=tuple(sorted(peer.gids)), pid=peer.pid, granted=granted)


def shown(found: Access) -> Text:
    """``qsup whoami``: who one is to the daemon, and a line for each thing that is granted."""
    who = f"{found.user} (uid {found.uid})" if found.user else f"uid {found.uid}"
    rows = [
        (one.role, ", ".join(one.guests), ", ".join(one.rights) or "-", printable(one.source))
        for one in found.granted
    ]
    lines = table(("ROLE", "GUESTS", "RIGHTS", "GRANTED BY"), rows)
    return Text(exit=0, text=f"{who}\n" + "".join("  ".join(line).rstrip() + "\n" for line in lines))
