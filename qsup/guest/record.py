"""What outlives the daemon: small records of each guest, JSON, versioned, written whole.

``state.json`` in the state directory is the guest's :class:`State`; it survives the host, too.
``machine.json`` beside it is the machine type that the guest keeps, ``granted.json`` what QEMU's user was given.
``users.json`` above all guests says whose QEMU has a user of its own.
``launch.json`` in the runtime directory is the process: who it is and from which spec it was made. It is written
before the process exists and again with its pid, so that no moment exists at which a daemon can die and leave a
QEMU that the next one does not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from qsup.argv.helper import Helper
from qsup.argv.invocation import QmpCommand
from qsup.atomic import read_file, set_aside, write_whole
from qsup.errors import RecordError
from qsup.guest.state import State
from qsup.proc.identity import Identity
from qsup.scope.wish import Scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION: Final = 3
LIMIT: Final = 1 << 20
"""Bytes; a record is a few kilobytes, so a larger file is not one."""


NOTHING: Final = msgspec.Raw(b"null")


class StateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``state.json``. Times inside ``state`` belong to the boot named here."""

    version: int = VERSION
    boot_id: str
    now: float = 0.0
    wall: float = 0.0
    """The moment of the writing on the two clocks: what bridges the gap between two boots."""
    state: State

    def shift(self, now: float, wall: float) -> float:
        """What to add to a time of that boot to have the time of this one that is as long ago.

        A wall clock that was set back meanwhile cannot make it less long ago.
        """
        return now - self.now - max(0.0, wall - self.wall)


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``machine.json``: which versioned machine type an alias has meant since the guest's first start with it."""

    version: int = VERSION
    alias: str
    machine: str


class HelperRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A helper of a launch, and the process that it is."""

    helper: Helper
    identity: Identity | None = None
    """None until the process exists."""


class LaunchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``launch.json``: one launch, whose run directory is named by its token."""

    version: int = VERSION
    boot_id: str
    token: str
    accel: str
    machine: str | None = None
    """The machine type that it was started with; None where an earlier release has not written it down."""
    argv: tuple[str, ...] = ()
    """Its command line; empty where an earlier release has not written it down."""
    spec: msgspec.Raw
    """The spec as it was launched, as ``spec.codec`` writes it."""
    commands: tuple[QmpCommand, ...] = ()
    """What QEMU is to be told before its vCPUs run, by whichever daemon lets them run."""
    helpers: tuple[HelperRecord, ...] = ()
    identity: Identity | None = None
    """None until the process exists."""
    scope: Scope | None = None
    """Where its processes are; None as long as they are in no cgroup of their own."""
    limits: msgspec.Raw = NOTHING
    """What holds for them there, as ``spec.codec`` writes it; null if that is what the spec says."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one user was given to one file."""

    path: str
    inode: tuple[int, int]
    """Device and number: by then the path may lead to another file."""
    uid: int
    before: tuple[tuple[int, int, int], ...]
    """The entries that the file's list had before anybody was given anything: tag, rights and id of each."""


class GrantedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``granted.json``: what QEMU's user was given for a guest, and has to give back."""

    version: int = VERSION
    grants: tuple[Grant, ...]


class UsersRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``users.json``: the guests that have a user of their own, and its number."""

    version: int = VERSION
    uids: dict[str, int]


Record = TypeVar("Record", StateRecord, MachineRecord, LaunchRecord, GrantedRecord, UsersRecord)

UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    # A launch had no helpers then; a state had nothing to tell of them. The defaults say as much.
    1: lambda document: document,
    # Nothing was known of readiness, and a reboot cleared all counts.
    2: lambda document: document,
}
"""From each older version to the next: a function over the record's JSON object."""


def write(
    path: Path, record: StateRecord | MachineRecord | LaunchRecord | GrantedRecord | UsersRecord
) -> None:
    """Write a record whole; raises OSError when the disk does not take it.

    A launch ends with the host, so its record needs not survive a power cut, and a start needs not wait for a disk.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(record), durable=not isinstance(record, LaunchRecord))


def read_state(path: Path) -> StateRecord | None:
    """The guest's state, or None if there is none; raises RecordError, see :func:`_read`."""
    return _read(path, StateRecord)


def read_machine(path: Path) -> MachineRecord | None:
    """The machine type that the guest keeps, or None if it keeps none; raises RecordError, see :func:`_read`."""
    return _read(path, MachineRecord)


def read_launch(path: Path) -> LaunchRecord | None:
    """The guest's launch, or None if there is none; raises RecordError, see :func:`_read`."""
    return _read(path, LaunchRecord)


def read_granted(path: Path) -> GrantedRecord | None:
    """What was given for a guest, or None if nothing was; raises RecordError, see :func:`_read`."""
    return _read(path, GrantedRecord)


def read_users(path: Path) -> UsersRecord | None:
    """The guests' own users, or None if there are none; raises RecordError, see :func:`_read`."""
    return _read(path, UsersRecord)


def _read(path: Path, kind: type[Record]) -> Record | None:
    """Read, upgrade and check. What cannot be used is set aside, so that it is kept and met only once."""
    try:
        data = read_file(path, LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"cannot read the record {path}: {error.strerror}") from error
    try:
        return _decode(data, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        kept = set_aside(path)
        raise RecordError(f"the record {path} cannot be used ({error}); it is kept as {kept.name}") from error


def _decode(data: bytes, kind: type[Record]) -> Record:
    if len(data) > LIMIT:
        raise ValueError(f"larger than {LIMIT} bytes")
    version = msgspec.json.decode(data, type=_Versioned).version
    if version == VERSION:
        return msgspec.json.decode(data, type=kind)
    if version > VERSION:
        raise ValueError(f"written by a newer qsup: version {version}, this one knows {VERSION}")
    document = msgspec.json.decode(data, type=dict[str, Any])
    for step in range(version, VERSION):
        if step not in UPGRADES:
            raise ValueError(f"unknown version {version}")
        document = UPGRADES[step](document)
    # By way of JSON, as a part of a record is kept as the very bytes.
    return msgspec.json.decode(msgspec.json.encode({**document, "version": VERSION}), type=kind)


class _Versioned(msgspec.Struct):
    version: int
