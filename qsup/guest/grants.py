"""Access to the files that a QEMU of another user opens: given before it starts, taken back when it has ended.

It is given by an entry in the access list of each file and of each directory on the way to it, and only where the
user has not what it needs already. So owner and mode of an image stay as they are, several users can share a file,
and giving it back is to remove an entry. What was given is written down before it is given, where that outlives the
host, or else where it outlives the daemon: one that dies in between leaves nothing behind that the next does not find.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup import acl
from qsup.errors import LaunchError, RecordError
from qsup.guest.record import Grant, GrantedRecord, read_granted, write
from qsup.preflight.obstacle import READ_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qsup.acl import Acl
    from qsup.preflight.opened import Opened
    from qsup.proc.account import Account

log = logging.getLogger(__name__)

FILE: Final = "granted.json"
"""The record's name in a guest's directory."""


class Grants:
    """What has been given, for which guests; call it from any thread.

    Each of the ``places`` has a directory for every guest; a record goes to the first that takes it.
    """

    def __init__(self, *places: Path) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._given: dict[str, tuple[Grant, ...]] = {}
        self._before: dict[tuple[int, int], Acl] = {}
        """By file, its list before anything was given."""
        self._users: defaultdict[tuple[int, int, int], set[str]] = defaultdict(set)
        for place in places:
            with contextlib.suppress(OSError):
                for directory in sorted(place.iterdir()):
                    self._hold(directory.name, _read(directory / FILE))

    def _hold(self, guest: str, grants: tuple[Grant, ...]) -> None:
        held = {_key(grant): grant for grant in (*self._given.get(guest, ()), *grants)}
        if held:
            self._given[guest] = tuple(held.values())
        for grant in grants:
            before = tuple(acl.Entry(*entry) for entry in grant.before)
            self._before.setdefault(grant.inode, before)
            self._users[_key(grant)].add(guest)

    def give(self, guest: str, account: Account, files: Iterable[Opened]) -> None:
        """Let a user have the files of a guest. Raises LaunchError that names what it cannot be given."""
        with self._lock:
            wanted = list(self._wanted(account, files))
            if not wanted:
                return
            # What an earlier launch has left is still there to be taken back.
            self._hold(guest, tuple(grant for grant, _ in wanted))
            self._write(guest, self._given[guest])
            for grant, rights in wanted:
                try:
                    with _held(grant.path) as (name, _):
                        acl.write(name, acl.given(acl.read(name), grant.uid, rights))
                except OSError as error:
                    raise LaunchError(_refused(grant.path, account, rights, error)) from error

    def _wanted(self, account: Account, files: Iterable[Opened]) -> Iterator[tuple[Grant, int]]:
        """What has to be given, or was given for another guest and is needed for this one as well."""
        for path, rights in _needs(files).items():
            try:
                with _held(path) as (name, inode):
                    status, found = os.stat(name), acl.read(name)
            except OSError as error:
                raise LaunchError(f"{path}: {error.strerror}") from error
            before = self._before.get(inode, found)
            grant = Grant(path=path, inode=inode, uid=account.uid, before=before)
            has = acl.rights(found, status.st_uid, status.st_gid, account.uid, account.gids)
            if _key(grant) in self._users or rights & ~has:
                yield grant, rights

    def renew(self) -> None:
        """Have what was given hold again: for each new daemon systemd sets the mode of the state directory anew."""
        with self._lock:
            for grant in {_key(grant): grant for grants in self._given.values() for grant in grants}.values():
                with contextlib.suppress(OSError), _held(grant.path) as (name, inode):
                    found = acl.read(name)
                    if inode == grant.inode and (again := acl.renewed(found, grant.uid)) != found:
                        acl.write(name, again)

    def take_back(self, guest: str) -> None:
        """A guest's QEMU has ended: what no other guest of the same user needs is as it was before."""
        with self._lock:
            grants = self._given.pop(guest, ())
            for grant in grants:
                users = self._users[_key(grant)]
                users.discard(guest)
                if not users:
                    del self._users[_key(grant)]
                    self._restore(grant)
            if grants:
                for place in self._places:
                    with contextlib.suppress(FileNotFoundError):
                        (place / guest / FILE).unlink()

    def has(self, guest: str) -> bool:
        """Whether anything was given for this guest."""
        return guest in self._given

    def guests(self) -> set[str]:
        """Those for which something was given."""
        return set(self._given)

    def _restore(self, grant: Grant) -> None:
        last = all(grant.inode != (device, number) for device, number, _ in self._users)
        before = self._before.pop(grant.inode) if last else self._before[grant.inode]
        try:
            with _held(grant.path) as (name, inode):
                if inode == grant.inode:
                    acl.write(name, acl.restored(acl.read(name), before, grant.uid, last=last))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning(
                "%s: the access of user %d cannot be taken back: %s; `setfacl -x u:%d %s` does it",
                grant.path, grant.uid, error.strerror, grant.uid, grant.path,
            )  # fmt: skip

    def _write(self, guest: str, grants: tuple[Grant, ...]) -> None:
        failed = []
        for place in self._places:
            try:
                write(place / guest / FILE, GrantedRecord(grants=grants))
            except OSError as error:
                failed.append(f"{place / guest / FILE}: {error.strerror}")
            else:
                return
        # The guest is more important than its record.
        log.warning(
            "%s: what QEMU's user is given cannot be written down (%s); a daemon that comes after a crash cannot"
            " take it back", guest, "; ".join(failed),
        )  # fmt: skip


def _read(path: Path) -> tuple[Grant, ...]:
    try:
        written = read_granted(path)
    except RecordError as error:
        log.warning("%s", error)
        return ()
    return written.grants if written is not None else ()


def _key(grant: Grant) -> tuple[int, int, int]:
    """The file and the user."""
    return (*grant.inode, grant.uid)


def _needs(files: Iterable[Opened]) -> dict[str, int]:
    """The rights to each file, and to each directory on the way to it; both without links."""
    needs: defaultdict[str, int] = defaultdict(int)
    for file in files:
        if file.is_made and not os.path.lexists(file.path):
            _make(file.path)
        # What is not there QEMU cannot open: the preflight has told so, or it may be missing.
        if os.path.exists(file.path):
            for way in {file.path, os.path.realpath(file.path)}:
                for directory in Path(way).parents:
                    needs[os.path.realpath(directory)] |= acl.ENTER
            needs[os.path.realpath(file.path)] |= file.rights
    return needs


def _make(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LaunchError(f"{path} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def _held(path: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """A name that leads to this very file meanwhile, whatever is put in its place, and which file that is."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        yield f"/proc/self/fd/{fd}", (status.st_dev, status.st_ino)
    finally:
        os.close(fd)


def _refused(path: str, account: Account, rights: int, error: OSError) -> str:
    if error.errno == errno.EROFS:
        return (
            f"{path}: user {account.name}, who runs QEMU, cannot be given access to what is {READ_ONLY}; "
            "let everybody read it, or keep a copy elsewhere"
        )
    if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
        return f"{path}: user {account.name} cannot be given access: {error.strerror}"
    words = "".join(
        word for word, bit in (("r", acl.READ), ("w", acl.WRITE), ("x", acl.ENTER)) if rights & bit
    )
    return (
        f"{path}: its file system has no access lists, and user {account.name}, who runs QEMU, needs '{words}'; "
        'give it to the user by owner, group or mode, or write [qemu] user = "root"'
    )
