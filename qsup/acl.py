"""Access to a file beyond its mode: POSIX ACLs as acl(5) defines them, in the form in which the kernel keeps them.

Reading and writing them is all that touches the disk here; what they mean, and how they change, is pure.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

READ: Final = 4
WRITE: Final = 2
ENTER: Final = 1
"""Rights, as in a file's mode; to enter is what ``x`` means for a directory."""

ATTRIBUTE: Final = "system.posix_acl_access"
USER_OBJ: Final = 0x01
USER: Final = 0x02
GROUP_OBJ: Final = 0x04
GROUP: Final = 0x08
MASK: Final = 0x10
OTHER: Final = 0x20
"""Tags of entries (Linux: include/uapi/linux/posix_acl.h)."""
NOBODY: Final = 0xFFFFFFFF
"""The id of an entry that names nobody."""
_VERSION: Final = struct.pack("<I", 2)
_ENTRY: Final = struct.Struct("<HHI")


class Entry(NamedTuple):
    """One line of a list: to whom (``tag``, ``id``) which rights are given."""

    tag: int
    rights: int
    id: int = NOBODY


Acl: TypeAlias = tuple[Entry, ...]


def read(path: str) -> Acl:
    """The list of a file, be it no more than its mode. Raises OSError."""
    try:
        data = os.getxattr(path, ATTRIBUTE)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        mode = os.stat(path).st_mode
        return Entry(USER_OBJ, mode >> 6 & 7), Entry(GROUP_OBJ, mode >> 3 & 7), Entry(OTHER, mode & 7)
    return tuple(Entry(*fields) for fields in _ENTRY.iter_unpack(data[len(_VERSION) :]))


def write(path: str, acl: Acl) -> None:
    """Give a file this list; one of three entries becomes its mode. Raises OSError."""
    os.setxattr(path, ATTRIBUTE, _VERSION + b"".join(_ENTRY.pack(*entry) for entry in sorted(acl)))


def rights(acl: Acl, owner: int, group: int, uid: int, gids: Collection[int]) -> int:
    """What a user with these groups may do with a file of this owner and group; nobody's capabilities count."""
    if uid == owner:
        return _of(acl, USER_OBJ) or 0
    mask = _of(acl, MASK)
    least = 7 if mask is None else mask
    if (named := _of(acl, USER, uid)) is not None:
        return named & least
    if own := list(_of_groups(acl, group, gids)):
        # Each entry counts for itself: what one of them allows alone is allowed.
        return max(found & least for found in own)
    return _of(acl, OTHER) or 0


def _of_groups(acl: Acl, group: int, gids: Collection[int]) -> Iterator[int]:
    for tag, found, number in acl:
        if (tag == GROUP_OBJ and group in gids) or (tag == GROUP and number in gids):
            yield found


def given(acl: Acl, uid: int, more: int) -> Acl:
    """The list in which a user has these rights beside those that the list gives to it by name."""
    wanted = (_of(acl, USER, uid) or 0) | more
    mask = _of(acl, MASK)
    least = (_of(acl, GROUP_OBJ) or 0) if mask is None else mask
    return _with(_with(acl, USER, uid, wanted), MASK, NOBODY, least | more)


def renewed(acl: Acl, uid: int) -> Acl:
    """The list whose mask lets a user have again what it gives to it by name: who sets a file's mode sets the mask."""
    named = _of(acl, USER, uid)
    return acl if named is None or named & ~(_of(acl, MASK) or 0) == 0 else given(acl, uid, named)


def restored(acl: Acl, before: Acl, uid: int, *, last: bool = True) -> Acl:
    """The list with what it had for a user ``before``; what others have changed in it since stays.

    Its mask is as before once this is the ``last`` user of those for whom it was widened.
    """
    acl = _with(acl, USER, uid, _of(before, USER, uid))
    mask = _of(before, MASK)
    if not _names_somebody(acl):
        return _with(acl, MASK, NOBODY, None if _names_somebody(before) else mask)
    return _with(acl, MASK, NOBODY, mask) if last and mask is not None else acl


def _names_somebody(acl: Acl) -> bool:
    return any(entry.tag in (USER, GROUP) for entry in acl)


def _of(acl: Acl, tag: int, number: int = NOBODY) -> int | None:
    return next((entry.rights for entry in acl if (entry.tag, entry.id) == (tag, number)), None)


def _with(acl: Acl, tag: int, number: int, rights: int | None) -> Acl:
    """The list with this entry in the place of the one for the same, or without it."""
    rest = tuple(entry for entry in acl if (entry.tag, entry.id) != (tag, number))
    return rest if rights is None else (*rest, Entry(tag, rights, number))
