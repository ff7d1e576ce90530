"""One image with all that it stands on: whether each file is there, is what it is said to be, and is nobody else's."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.preflight.imagelock import is_used
from qsup.preflight.obstacle import IMAGES, Obstacle, unusable
from qsup.preflight.qcow2 import HEAD, is_qcow2, read_header
from qsup.spec.problem import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Path

LIMIT: Final = 200
"""Files in one chain that are followed; QEMU would take minutes for more."""
_PROTOCOL: Final = re.compile(r"[a-z0-9+._-]+:")


class _Link(NamedTuple):
    """One file of a chain. What is told of it belongs to the keys of the image at the chain's top."""

    path: Path
    file: str
    format: str
    write: bool
    above: str | None = None
    """The file whose backing file it is; None at the top."""

    def told(self, message: str, key: str = "file") -> Obstacle:
        """An obstacle of this file; a backing file has no keys of its own."""
        what = self.file if self.above is None else f"{self.file}, the backing file of {self.above},"
        return Obstacle((*self.path, key if self.above is None else "file"), printable(f"{what} {message}"))


def image(path: Path, file: str, format_: str, *, write: bool, running: bool) -> Iterator[Obstacle]:
    """The obstacles of one image, ``path`` being its table. One that is written to may have no other user."""
    seen: set[tuple[int, int]] = set()
    link: _Link | None = _Link(path, file, format_, write)
    while link is not None:
        if found := list(unusable((*path, "file"), link.file, IMAGES, write=link.write)):
            by = f"backing file of {link.above}: " if link.above else ""
            yield from (Obstacle(key, printable(f"{by}{message}")) for key, message, _ in found)
            return
        try:
            with _opened(link.file) as fd:
                status, head = os.fstat(fd), os.pread(fd, HEAD, 0)
                used = not running and is_used(fd, write=link.write)
        except OSError as error:
            yield link.told(f"cannot be read: {error.strerror}")
            return
        if used:
            yield link.told(
                f"is in use by another process, as its locks say; `fuser -v {link.file}` names it"
            )
        if (identity := (status.st_dev, status.st_ino)) in seen or len(seen) == LIMIT:
            loop = "is a part of its own backing chain"
            yield link.told(loop if identity in seen else f"is number {LIMIT} of a backing chain")
            return
        seen.add(identity)
        obstacle, link = _next(link, head)
        if obstacle is not None:
            yield obstacle


def backing_files(file: str, format_: str) -> Iterator[str]:
    """The files that an image stands on, the nearest first, as far as they can be read."""
    link = _Link((), file, format_, write=False)
    for _ in range(LIMIT):
        try:
            with _opened(link.file) as fd:
                _, below = _next(link, os.pread(fd, HEAD, 0))
        except OSError:
            return
        if below is None:
            return
        link = below
        yield link.file


def _next(link: _Link, head: bytes) -> tuple[Obstacle | None, _Link | None]:
    """What is wrong with the content of a file, and the file that it stands on."""
    if link.format != "qcow2":
        # A qcow2 image taken for raw shows the guest its metadata. Below the top, `raw` is what its image says.
        if link.above is None and is_qcow2(head):
            return link.told('is a qcow2 image; write format = "qcow2"', "format"), None
        return None, None
    if not is_qcow2(head):
        hint = (
            '; write format = "raw" if it is a raw one' if link.above is None else ", as which that names it"
        )
        return link.told(f"is no qcow2 image{hint}", "format"), None
    try:
        header = read_header(head)
    except ValueError as error:
        return link.told(f"is no sound qcow2 image: {error}"), None
    corrupt = link.told(f"is marked as corrupt; `qemu-img check -r all {link.file}` may repair it")
    below = None
    if header.backing is not None and not _PROTOCOL.match(header.backing):
        # QEMU looks from where the image is named, be that a link or not.
        file = os.path.join(os.path.dirname(link.file), header.backing)
        format_ = header.backing_format or ("qcow2" if _begins_as_qcow2(file) else "raw")
        below = _Link(link.path, file, format_, write=False, above=link.file)
    return corrupt if header.corrupt and link.write else None, below


@contextlib.contextmanager
def _opened(file: str) -> Iterator[int]:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def _begins_as_qcow2(file: str) -> bool:
    if any(unusable((), file, IMAGES)):
        return False
    with contextlib.suppress(OSError), _opened(file) as fd:
        return is_qcow2(os.pread(fd, HEAD, 0))
    return False
