"""Who may do what: decided from what the kernel says of a peer and what ``qsup.toml`` grants. Pure."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING, Final

from qsup.errors import GuestNotFound
from qsup.role import Need, Right, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

EVERYTHING: Final = "*"
"""The glob that stands for all guests, those as well that come later."""
FEW: Final = 5
"""How many guests a refusal names."""


class Who:
    """A peer as far as it matters here: its user, and all its groups.

    ``known`` is False if the numbers may stand for anybody, as those of another user namespace do.
    """

    __slots__ = ("gids", "known", "uid")

    def __init__(self, uid: int, gids: Iterable[int] = (), *, known: bool = True) -> None:
        self.uid = uid
        self.gids = frozenset(gids)
        self.known = known


class Grant:
    """What is granted to a user (``uid``), the members of a group (``gid``), or without both to everybody."""

    def __init__(
        self,
        source: str,
        role: Role,
        *,
        guests: Sequence[str] = (EVERYTHING,),
        rights: Collection[Right] = (),
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self.source = source
        """Where that is said, in words."""
        self.role = role
        self.guests = tuple(guests)
        self.rights = frozenset(rights)
        self.uid = uid
        self.gid = gid
        self.is_of_all = EVERYTHING in self.guests
        """Whether it covers every guest that there may be."""

    @cached_property
    def _globs(self) -> re.Pattern[str]:
        # fnmatch itself remembers a few hundred globs only, and would read more of them anew each time.
        return re.compile("|".join(map(translate, self.guests)))

    @property
    def is_for_everybody(self) -> bool:
        """Whether it asks neither for a user nor for a group."""
        return self.uid is None and self.gid is None

    def is_for(self, who: Who) -> bool:
        """Whether this peer has it."""
        if self.is_for_everybody:
            return True
        return who.known and (who.uid == self.uid or self.gid in who.gids)

    def covers(self, guest: str | None) -> bool:
        """Whether it is about this guest; for None, about the host as a whole."""
        return self.is_of_all or (guest is not None and self._globs.match(guest) is not None)


class Standing:
    """What one peer may do."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = tuple(grants)
        self.sees_all = any(grant.is_of_all for grant in grants)
        """Whether no guest is hidden from it, whatever it is called."""

    def sees(self, guest: str) -> bool:
        """Whether there is such a guest, as far as this peer is to know."""
        return self.sees_all or any(grant.covers(guest) for grant in self.grants)

    def check_sees(self, guest: str) -> None:
        """Raise GuestNotFound if there is none such, as far as this peer is to know."""
        if not self.sees(guest):
            raise GuestNotFound.of(guest)

    def hears(self, guest: str | None) -> bool:
        """Whether it is told what happens to a guest; what is about none names guests of all kinds."""
        return self.sees_all or (guest is not None and self.sees(guest))

    def role(self, guest: str | None) -> Role | None:
        """The highest role that it has with a guest; for None, with the whole host."""
        roles = [grant.role for grant in self.grants if grant.covers(guest)]
        return max(roles, key=list(Role).index, default=None)

    def rights(self, guest: str | None) -> frozenset[Right]:
        """The rights that it has with a guest; for None, with all of them."""
        return frozenset().union(*(grant.rights for grant in self.grants if grant.covers(guest)))

    def has(self, need: Need, guest: str | None) -> bool:
        """Whether it may do what takes this, to a guest; for None, to the whole host."""
        if isinstance(need, Right):
            return need in self.rights(guest)
        role = self.role(guest)
        return role is not None and role.includes(need)


class Rules:
    """All grants. ``owners`` may do everything, by their uids; ``file`` is where the others are written."""

    def __init__(self, owners: Collection[int], grants: Sequence[Grant], file: str) -> None:
        self.owners = frozenset(owners)
        self.grants = tuple(grants)
        self.file = file

    def standing(self, who: Who) -> Standing:
        """What a peer may do."""
        if who.known and who.uid in self.owners:
            return Standing((OWNER,))
        return Standing([grant for grant in self.grants if grant.is_for(who)])

    def is_owner(self, who: Who) -> bool:
        """Whether it may do everything, because it could do so without the daemon."""
        return who.known and who.uid in self.owners


OWNER: Final = Grant("root, or the daemon's own user", Role.ADMINISTER, rights=tuple(Right))


def lacks(standing: Standing, need: Need, guests: Sequence[str] | None, file: str) -> str | None:
    """What a peer lacks for giving a command, as the end of a sentence that begins with who it is.

    ``guests`` are those that the command is about; None: the host as a whole. The answer is None if it lacks nothing.
    """
    about: Sequence[str | None] = [None] if guests is None else guests
    missing = [guest for guest in about if not standing.has(need, guest)]
    if not missing:
        return None
    kind = "right" if isinstance(need, Right) else "role"
    return (
        f"to {_whom(missing)}: that takes the {kind} {need}, and {_held(standing, need, missing[0])};"
        f" [[access]] in {file} grants it"
    )


def _whom(guests: Sequence[str | None]) -> str:
    if guests == [None]:
        return "this host"
    names = [str(guest) for guest in guests]
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _held(standing: Standing, need: Need, guest: str | None) -> str:
    """What the peer has instead, in words."""
    where = "all guests" if guest is None else guest
    role = standing.role(guest)
    if isinstance(need, Right):
        return f"no role includes it (its role with {where} is {role or 'none'})"
    return f"its role with {where} is {role or 'none'}"
