"""What stands against a start: a key, a sentence about it, and whether it is in the way or only worth knowing."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from qsup.spec.document import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.facts import HostFacts
    from qsup.argv.invocation import Invocation
    from qsup.proc.account import Account
    from qsup.scope.ground import Ground
    from qsup.spec.base import Path
    from qsup.spec.model import GuestSpec

Kinds: TypeAlias = dict[int, str]
REGULAR: Final[Kinds] = {stat.S_IFREG: "regular file"}
IMAGES: Final[Kinds] = {stat.S_IFREG: "regular file", stat.S_IFBLK: "block device"}
SOURCES: Final[Kinds] = {stat.S_IFREG: "regular file", stat.S_IFCHR: "character device"}
DEVICES: Final[Kinds] = {stat.S_IFCHR: "character device"}
SOCKETS: Final[Kinds] = {stat.S_IFSOCK: "socket"}
"""What a key may name."""


class Plan(NamedTuple):
    """A start that is thought of: the guest, what its QEMU can do, and the command line made of both."""

    spec: GuestSpec
    facts: HostFacts
    made: Invocation
    running: bool = False
    """Whether the guest runs now, and so has itself what it needs: ports, images, memory."""
    ground: Ground | None = None
    """What limits can stand on; None if that is not to be looked at."""
    account: Account | None = None
    """Who QEMU will run as; None for the user who looks."""

    def makes(self, file: str) -> bool:
        """Whether the start makes this file if it is not there."""
        return any(one.path == file for one in self.made.files)


class Obstacle(NamedTuple):
    """One finding about this host. The sentence says what to do."""

    path: Path
    """The key, down from the guest's file: ``("disk", "root", "file")``."""
    message: str
    fatal: bool = True
    """Whether QEMU would not start, or not as declared. What is not fatal is told, and the guest is started."""

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}"


READ_ONLY: Final = "mounted read-only, as all of /usr and /boot is for qsupd.service"


def unusable(path: Path, file: str, kinds: Kinds, *, write: bool = False) -> Iterator[Obstacle]:
    """What keeps a file from being used by this user, who is QEMU's too; nothing is opened for that."""
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        yield Obstacle(path, f"{file} does not exist")
        return
    except OSError as error:
        yield Obstacle(path, f"{file}: {error.strerror}")
        return
    if stat.S_ISDIR(mode):
        yield Obstacle(path, f"{file} is a directory")
    elif stat.S_IFMT(mode) not in kinds:
        # Above all, nobody must open a FIFO: that waits for a writer.
        yield Obstacle(path, f"{file} is no {' or '.join(kinds.values())}")
    elif not os.access(file, os.R_OK):
        yield Obstacle(path, f"{file} cannot be read by this user")
    elif write and os.statvfs(file).f_flag & os.ST_RDONLY:
        yield Obstacle(
            path,
            f"{file} lies on what is {READ_ONLY}; keep it elsewhere, or write read-only = true",
        )
    elif write and not os.access(file, os.W_OK):
        yield Obstacle(
            path, f"{file} cannot be written by this user; make it writable, or write read-only = true"
        )
