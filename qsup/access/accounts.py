"""Users and groups of this host: names into numbers and back. All of it may wait for a name service."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.access.peer import unmapped
from qsup.access.rules import Grant, Rules
from qsup.role import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsup.spec.tables.access import Access

USUAL_GROUP: Final = "qsup"
"""The group that administers if the file says nothing of it, and if there is such a group."""
EVERYBODY: Final = "*"


class Unknown(NamedTuple):
    """An entry of the file that nobody has, for now."""

    number: int
    key: str
    message: str


def uid_of(user: str) -> int | None:
    """The number of a user, by name or number; None if there is none of that name."""
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def gid_of(group: str) -> int | None:
    """The number of a group, by name or number; None if there is none of that name."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def user_of(uid: int) -> str | None:
    """The name of a user; None if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def rules(entries: Sequence[Access], file: str) -> tuple[Rules, list[Unknown]]:
    """What the entries of the file mean on this host, and those that mean nothing."""
    grants: list[Grant] = []
    unknown: list[Unknown] = []
    for number, entry in enumerate(entries):
        found = _grant(number, entry)
        if isinstance(found, Grant):
            grants.append(found)
        else:
            unknown.append(found)
    return Rules(owners(), [*grants, *_usual(entries)], file), unknown


def closed(file: str) -> Rules:
    """The rules where it is not known what the file would say."""
    return Rules(owners(), (), file)


def owners() -> set[int]:
    """Who may do everything: they could do so without the daemon."""
    return {0, os.geteuid()}


def _grant(number: int, entry: Access) -> Grant | Unknown:
    nobody = unmapped()
    uid, gid = None, None
    if entry.group is not None:
        key, subject = "group", f"group {entry.group}"
        gid = gid_of(entry.group)
        stranger = nobody is not None and gid == nobody.gid
    else:
        key, subject = "user", "everybody" if entry.user == EVERYBODY else f"user {entry.user}"
        uid = uid_of(str(entry.user))
        stranger = nobody is not None and uid == nobody.uid
    if entry.user != EVERYBODY and uid is None and gid is None:
        return Unknown(number, key, f"there is no {subject} on this host; nobody has what it grants")
    if stranger:
        told = (
            f"{subject} cannot be told from users outside of this user namespace; nobody has what it grants"
        )
        return Unknown(number, key, told)
    source = f"[[access]] {number + 1}: {subject}"
    return Grant(source, entry.role, guests=entry.guests, rights=entry.rights, uid=uid, gid=gid)


def _usual(entries: Sequence[Access]) -> Iterator[Grant]:
    """What the usual group has, unless the file speaks of it."""
    gid = gid_of(USUAL_GROUP)
    if gid is not None and all(entry.group is None or gid_of(entry.group) != gid for entry in entries):
        yield Grant(f"group {USUAL_GROUP}, of which the file says nothing", Role.ADMINISTER, gid=gid)
