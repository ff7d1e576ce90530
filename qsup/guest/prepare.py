"""Makes the files that an invocation needs, where they are not there yet.

A file is made under another name beside its place, and takes its own name when it is whole: what is half made when
the daemon dies never counts, and the next attempt replaces it. A file that exists is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING, Final, assert_never

from qsup.argv.files import CopyFile, CopySecret, CreateImage, SeedImage, WriteFile
from qsup.errors import LaunchError
from qsup.guest.seed import make_seed
from qsup.proc.process import ENVIRONMENT
from qsup.proc.tool import run
from qsup.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.argv.files import File

DEADLINE: Final = 60.0
"""Seconds for one `qemu-img create`: it writes metadata only."""
QEMU_IMG: Final = "qemu-img"


async def prepare(files: Iterable[File], binary: str) -> None:
    """Make the files, one after the other; ``binary`` is the QEMU that will use them.

    Raises LaunchError, in the words of whoever could not make one.
    """
    for file in files:
        if os.path.lexists(file.path):
            continue
        key = ".".join(file.source)
        try:
            await _make(file, binary)
        except OSError as error:
            raise LaunchError(f"{key}: {file.path} cannot be made: {error.strerror or error}") from error
        except LaunchError as error:
            raise LaunchError(f"{key}: {file.path} cannot be made: {error}") from error


def qemu_img(binary: str) -> str:
    """The `qemu-img` that lies beside a QEMU binary, else the one in the PATH. Raises LaunchError without either."""
    beside = os.path.join(os.path.dirname(binary), QEMU_IMG)
    found = shutil.which(beside) or shutil.which(QEMU_IMG, path=ENVIRONMENT["PATH"])
    if found is None:
        raise LaunchError(f"there is no {QEMU_IMG} beside {binary} or in the PATH; install it (qemu-utils)")
    return found


async def _make(file: File, binary: str) -> None:
    unfinished = _unfinished(file.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    try:
        match file:
            case CreateImage():
                await _create(file, unfinished, qemu_img(binary))
            case CopyFile(template, _):
                # In place, as the seed below: a thread that is left behind could still make the file after its removal.
                shutil.copyfile(template, unfinished)
            case CopySecret(original, _, most):
                _write(unfinished, read_secret(original, most))
            case WriteFile(_, text):
                _write(unfinished, text.encode())
            case SeedImage():
                make_seed(file, unfinished)
            case never:
                assert_never(never)
        await asyncio.to_thread(_settle, unfinished, file.path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)


def _unfinished(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.unfinished")


async def _create(image: CreateImage, path: str, tool: str) -> None:
    words = [tool, "create", "-q", "-f", image.format]
    if image.base is not None:
        words += ["-b", image.base, "-F", image.base_format or image.format]
    words.append(path)
    if image.size is not None:
        words.append(str(int(image.size)))
    status, said = await run(words, DEADLINE)
    if (status.how, status.number) != ("exit", 0):
        raise LaunchError(said.replace(path, image.path) or f"{tool}: {status}")


def _write(path: str, content: bytes) -> None:
    """Make a file that nobody else can read, at any moment."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)


def _settle(unfinished: str, path: str) -> None:
    """Give a whole file its name; raise FileExistsError if somebody else has made one meanwhile."""
    os.chmod(unfinished, 0o600)
    _sync(unfinished)
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # The file system has no hard links, the only way to give a name that surely replaces nothing.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(unfinished, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
