"""The permissions of the control socket: only those can connect who have been granted something.

The first line of defence alone; who is connected is asked again for every command. One group fits into the mode of a
file, so further groups and single users go into an access control list (acl(5)).
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from qsup.access.rules import Rules

_ACL: Final = "system.posix_acl_access"
_HEAD: Final = struct.pack("<I", 2)
_ENTRY: Final = struct.Struct("<HHI")
_OWNER, _USER, _OWNERS_GROUP, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY_IN_PARTICULAR: Final = 0xFFFFFFFF
_NO: Final = 0
_YES: Final = 6
"""Read and write: connecting takes the right to write."""


class Door(msgspec.Struct, frozen=True):
    """Who may connect, beside the socket's owner."""

    everybody: bool = False
    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()

    @property
    def is_closed(self) -> bool:
        """Whether nobody may but the owner."""
        return not (self.everybody or self.uids or self.gids)


def door(rules: Rules) -> Door:
    """Who may connect by these rules. Pure."""
    if any(grant.is_for_everybody for grant in rules.grants):
        return Door(everybody=True)
    uids = {grant.uid for grant in rules.grants if grant.uid is not None}
    gids = {grant.gid for grant in rules.grants if grant.gid is not None}
    return Door(uids=tuple(sorted(uids - rules.owners)), gids=tuple(sorted(gids)))


def open_door(path: str, wanted: Door) -> None:
    """Give the socket at a path, and the directory that it is in, the permissions for this; raises OSError.

    Whoever may connect has to get through the directory; what else lies there keeps its own permissions.
    """
    socket = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(socket).st_mode):
            raise OSError(f"{path} is no socket any more")
        # What is opened with O_PATH can be changed by this name only, and by no other name that it might have.
        _open_socket(f"/proc/self/fd/{socket}", wanted)
    finally:
        os.close(socket)
    if not wanted.is_closed:
        _let_through(os.path.dirname(path))


def _open_socket(path: str, wanted: Door) -> None:
    with contextlib.suppress(OSError):  # There is none, or the file system knows of none.
        os.removexattr(path, _ACL)
    if wanted.everybody or wanted.is_closed:
        os.chmod(path, 0o666 if wanted.everybody else 0o600)
        return
    uids, gids = wanted.uids, wanted.gids
    if gids:
        # Only for root, or a member of it; else it goes where the others go.
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, gids[0])
            gids = gids[1:]
    has_group = len(gids) < len(wanted.gids)
    os.chmod(path, 0o660 if has_group else 0o600)
    if uids or gids:
        os.setxattr(path, _ACL, acl(uids, gids, owners_group=has_group))


def acl(uids: tuple[int, ...], gids: tuple[int, ...], *, owners_group: bool) -> bytes:
    """An access control list in the form in which the kernel takes it (``posix_acl_xattr.h``); entries are sorted."""
    entries = [
        (_OWNER, _YES, _NOBODY_IN_PARTICULAR),
        *((_USER, _YES, uid) for uid in sorted(uids)),
        (_OWNERS_GROUP, _YES if owners_group else _NO, _NOBODY_IN_PARTICULAR),
        *((_GROUP, _YES, gid) for gid in sorted(gids)),
        (_MASK, _YES, _NOBODY_IN_PARTICULAR),
        (_OTHERS, _NO, _NOBODY_IN_PARTICULAR),
    ]
    return _HEAD + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _let_through(directory: str) -> None:
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & 0o011 != 0o011:
        os.chmod(directory, mode | 0o011)  # noqa: S103 - through, and no more than that
