"""Who a QEMU runs as: a user of this host with its groups, and the words that make a process one of this user's."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.errors import LaunchError
from qsup.proc.process import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SETPRIV: Final = "setpriv"
UNSHARE: Final = "unshare"
KVM_GROUP: Final = "kvm"
"""The group that may open ``/dev/kvm``, by the custom of distributions."""
EMPTIED: Final = (
    'set -e; until [ "$1" = -- ]; do mount -t tmpfs -o mode=1777,nosuid,nodev,size=64m qsup "$1"; shift; done; '
    'shift; exec "$@"'
)
"""Mounts an empty file system over each directory that is named before ``--``, and executes what follows."""


class Account(msgspec.Struct, frozen=True):
    """A user, as far as the kernel asks."""

    name: str
    """For people; the number of one that has none."""
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def gids(self) -> frozenset[int]:
        """All its groups."""
        return frozenset((self.gid, *self.groups))


def of_user(user: str) -> Account:
    """A user by name or number, with the groups that it is a member of. Raises LaunchError if there is none."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if user.isdecimal():
            return nameless(int(user))
        raise LaunchError(
            f"there is no user {user} on this host; `useradd --system --groups {KVM_GROUP} {user}` makes it"
        ) from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Account(found.pw_name, found.pw_uid, found.pw_gid, tuple(sorted({*groups} - {found.pw_gid})))


def nameless(uid: int) -> Account:
    """A user that is only a number: its group has the same one, and it may open ``/dev/kvm`` if a group may."""
    try:
        groups: tuple[int, ...] = (grp.getgrnam(KVM_GROUP).gr_gid,)
    except KeyError:
        groups = ()
    return Account(str(uid), uid, uid, groups)


def confined(argv: Sequence[str], account: Account | None, emptied: Collection[str] = ()) -> list[str]:
    """What to execute so that ``argv`` comes to run as this user, without any capability and with no way to one.

    ``emptied`` are directories that it is to find empty, and its own, in a mount namespace. The pid stays the same
    all along: each of the programs executes the next one. Raises LaunchError if one of them is not installed.
    """
    words = list(argv)
    if account is not None:
        groups = f"--groups={','.join(map(str, account.groups))}" if account.groups else "--clear-groups"
        words = [
            *(_tool(SETPRIV), f"--reuid={account.uid}", f"--regid={account.gid}", groups),
            *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", *words),
        ]
    if emptied:
        # A slave still gets what the host mounts later on, an image's file system say.
        unshare = (_tool(UNSHARE), "--mount", "--propagation=slave", "--", "/bin/sh", "-c", EMPTIED, "qsup")
        words = [*unshare, *sorted(emptied), "--", *words]
    return words


def _tool(name: str) -> str:
    found = shutil.which(name, path=ENVIRONMENT["PATH"])
    if found is None:
        raise LaunchError(f"there is no {name} in the PATH, which QEMU is started with; install util-linux")
    return found
