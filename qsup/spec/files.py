"""The files of a configuration directory: which there are, and what stands in each. The only I/O of this package."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from qsup.spec.document import FILE_LIMIT, Document, parse
from qsup.spec.problem import Problem, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT_LIMIT: Final = 10_000
"""Files in one directory."""
SUFFIX: Final = ".toml"
NOTHING: Final[Mapping[str, bytes]] = {}
DROPINS: Final = f"{SUFFIX}.d"
"""How the directory of a file's drop-ins ends: ``web1.toml.d``."""


class Folder:
    """One of the folders of a configuration directory, as it is now. Hidden files and those of editors are not ours.

    ``problems`` takes what keeps it from being read; a folder that is missing is empty. ``instead`` has, by their
    names relative to ``root``, files that are taken for what they would say if they were written so.
    """

    def __init__(
        self, root: str, name: str, problems: list[Problem], instead: Mapping[str, bytes] = NOTHING
    ) -> None:
        self.root = root
        self.name = name
        self._instead = instead
        found = _entries(root, name, problems, instead)
        self.stems = [entry.removesuffix(SUFFIX) for entry in found if entry.endswith(SUFFIX)]
        """The names of its files, without ``.toml``."""
        self.dropins = {
            entry.removesuffix(DROPINS): tuple(
                f"{name}/{entry}/{inner}"
                for inner in _entries(root, f"{name}/{entry}", problems, instead)
                if inner.endswith(SUFFIX)
            )
            for entry in found
            if entry.endswith(DROPINS)
        }
        """By the name of the file that they add to, all drop-ins in lexical order, relative to ``root``."""

    def file(self, stem: str) -> str:
        """A file of the folder, relative to ``root``."""
        return f"{self.name}/{stem}{SUFFIX}"

    def is_link_to(self, stem: str, other: str) -> bool:
        """Whether two names stand for the same file."""
        try:
            return os.path.samefile(f"{self.root}/{self.file(stem)}", f"{self.root}/{self.file(other)}")
        except OSError:
            return False

    def read(self, stem: str) -> Document | Problem:
        """What stands in one of the files."""
        return self._read(self.file(stem))

    def read_dropins(self, stem: str) -> list[Document | Problem]:
        """What stands in the drop-ins of a file."""
        return [self._read(file) for file in self.dropins.get(stem, ())]

    def _read(self, file: str) -> Document | Problem:
        data = self._instead.get(file)
        return read(self.root, file) if data is None else parse(printable(file), data)


def _entries(root: str, name: str, problems: list[Problem], instead: Mapping[str, bytes]) -> list[str]:
    """The names in a directory that may be ours, sorted, ``COUNT_LIMIT`` at most."""
    planned = {
        file.removeprefix(f"{name}/").partition("/")[0] for file in instead if file.startswith(f"{name}/")
    }
    return sorted({*planned, *_listed(root, name, problems)})


def _listed(root: str, name: str, problems: list[Problem]) -> list[str]:
    try:
        with os.scandir(f"{root}/{name}") as entries:
            found = [
                entry.name
                for entry in entries
                if entry.name[0] != "."
                and (entry.name.endswith(SUFFIX) or (entry.name.endswith(DROPINS) and entry.is_dir()))
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(Problem(printable(name), None, "", f"cannot be read: {error.strerror}"))
        return []
    if len(found) > COUNT_LIMIT:
        told = f"more than {COUNT_LIMIT} files; the rest is not read"
        problems.append(Problem(printable(name), None, "", told))
    return sorted(found)[:COUNT_LIMIT]


def read(root: str, file: str) -> Document | Problem:
    """What stands in a file, whose path is relative to ``root``."""
    label = printable(file)
    try:
        # A FIFO would keep the opener waiting for a writer.
        fd = os.open(f"{root}/{file}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        return Problem(label, None, "", f"cannot be read: {getattr(error, 'strerror', error)}")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Problem(label, None, "", "cannot be read: it is no regular file")
        return parse(label, _all(fd))
    except OSError as error:
        return Problem(label, None, "", f"cannot be read: {error.strerror}")
    finally:
        os.close(fd)


def _all(fd: int) -> bytes:
    """The content of a file, one byte more than is allowed at most."""
    data = os.read(fd, FILE_LIMIT + 1)
    while more := os.read(fd, FILE_LIMIT + 1 - len(data)):
        data += more
    return data
