"""The bundles on disk, a directory each: written whole, never overwritten, the oldest removed when there are too many.

Only the daemon's user can write where they are; nevertheless no link is followed, in case somebody has been root.
All that touches the disk happens in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.blackbox import bundle
from qsup.blackbox.bundle import FACTS, ID, SCREEN, SUMMARY, Facts
from qsup.blackbox.summary import summary
from qsup.errors import QsupError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from qsup.blackbox.bundle import Crash
    from qsup.spec.tables.keeping import Crashes

log = logging.getLogger(__name__)

LISTED: Final = 1000
"""Bundles that are listed at once, the newest ones."""
PIECE: Final = 192 << 10
"""Bytes of a file that are read at once."""
FACTS_LIMIT: Final = 1 << 20
SUMMARY_LIMIT: Final = 1 << 20
_UNFINISHED: Final = ".new-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle, as it lies there. ``guest`` and ``at`` (wall time) are known by its name alone."""

    id: str
    guest: str
    at: float
    directory: str
    files: dict[str, int]
    """Names and sizes in bytes."""
    facts: Facts | None
    problem: str | None = None
    """Why there are no facts."""


class Kept(msgspec.Struct, frozen=True):
    """A bundle that has just been written, and the older ones that have gone for it."""

    id: str
    gone: tuple[str, ...] = ()

    def __str__(self) -> str:
        gone = f"; removed to make room: {', '.join(self.gone)}" if self.gone else ""
        return f"what is known of it is kept: `qsup crash show {self.id}`{gone}"


class Shelf:
    """The bundles of one daemon. ``limits`` may be replaced at any time; :meth:`tidy` makes them hold."""

    def __init__(self, directory: Path, limits: Crashes) -> None:
        self.directory = directory
        self.limits = limits
        self._writer = ThreadPoolExecutor(1, "shelf")
        """One thread, so that one bundle is written after the other, and all of them before the daemon is gone."""
        self._sizes: dict[str, int] = {}
        """Room that each bundle takes; they never change."""

    async def write(self, crash: Crash) -> Kept | None:
        """Write a bundle, then remove those that are too many; None if none are to be kept.

        It is written though whoever waits for it is cancelled. Raises QsupError if the disk does not take it; nothing
        of it is left then.
        """
        written = self.begin(crash)
        if written is None:
            return None
        try:
            return await asyncio.shield(asyncio.wrap_future(written))
        except OSError as error:
            raise QsupError(
                f"{crash.guest}: its bundle cannot be written to {self.directory}: {error.strerror}"
            ) from error

    def begin(self, crash: Crash) -> Future[Kept] | None:
        """Have a bundle written without waiting for it; None if none are to be kept."""
        return self._writer.submit(self._write, crash) if self.limits.per_guest else None

    async def tidy(self) -> tuple[str, ...]:
        """Remove what a daemon that died has left unfinished, and bundles that are too many; return their ids.

        Raises QsupError if they cannot be removed.
        """
        try:
            return await asyncio.wrap_future(self._writer.submit(self._tidy))
        except OSError as error:
            raise QsupError(f"bundles in {self.directory} cannot be removed: {error.strerror}") from error

    async def guests(self) -> frozenset[str]:
        """The names of all guests that have bundles, be they still there or not."""
        return frozenset(guest_of(id_) for id_ in await asyncio.to_thread(self._ids))

    async def listing(self, guests: Collection[str]) -> tuple[list[Bundle], int]:
        """The bundles of these guests, the newest first, and how many more there are than are listed."""
        return await asyncio.to_thread(self._listing, guests)

    async def find(self, word: str, of: Callable[[str], bool] = lambda _: True) -> Bundle:
        """The bundle that is meant: by its id, its guest (the newest one), ``latest``, or the beginning of its id.

        Only those ``of`` some guests count. Raises QsupError if that is none, or several.
        """
        return await asyncio.to_thread(self._find, word, of)

    async def summary(self, id_: str) -> str:
        """What a person reads of it. Raises QsupError."""
        return (await self.piece(id_, SUMMARY, 0, SUMMARY_LIMIT)).decode(errors="replace")

    async def piece(self, id_: str, file: str, offset: int, limit: int = PIECE) -> bytes:
        """A piece of one of its files; empty at the end. Raises QsupError if there is no such file."""
        try:
            return await asyncio.to_thread(self._piece, id_, file, offset, limit)
        except (OSError, ValueError) as error:
            raise no_file(id_, file) from error

    # What follows runs in threads.

    @contextlib.contextmanager
    def _open(self, *names: str) -> Iterator[int]:
        """The shelf's own directory, or that of a bundle. Raises OSError."""
        fd = os.open(self.directory, _DIRECTORY)
        try:
            for name in names:
                outer, fd = fd, os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(outer)
            yield fd
        finally:
            os.close(fd)

    def _ids(self) -> list[str]:
        """The ids of all bundles, the newest first; empty if they cannot be read."""
        try:
            with self._open() as directory, os.scandir(directory) as entries:
                found = [
                    (_stamp(entry.name), entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                    for entry in entries
                    if ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
        except OSError:
            return []
        return [name for *_, name in sorted(found, reverse=True)]

    def _write(self, crash: Crash) -> Kept:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        crash = bundle.cleaned(crash)
        with self._open() as directory:
            id_ = self._free_id(crash, directory)
            unfinished = _UNFINISHED + id_
            try:
                os.mkdir(unfinished, 0o700, dir_fd=directory)
                with self._open(unfinished) as inner:
                    _write_files(inner, self._contents(crash, id_))
                os.rename(unfinished, id_, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True, dir_fd=directory)
                raise
            os.fsync(directory)
            try:
                return Kept(id_, self._prune(directory, id_))
            except OSError as error:
                log.warning("older bundles in %s cannot be removed: %s, ignoring", self.directory, error)
                return Kept(id_)

    def _free_id(self, crash: Crash, directory: int) -> str:
        announced = crash.id
        while True:
            id_, announced = announced or bundle.new_id(crash.guest, crash.at), None
            if ID.fullmatch(id_) is None:
                raise ValueError(f"{crash.guest!r} is no name of a guest")
            try:
                os.stat(id_, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return id_

    def _contents(self, crash: Crash, id_: str) -> dict[str, bytes]:
        files = bundle.files(crash)
        if crash.screen is not None and sum(map(len, files.values())) > self.limits.size:
            # All else is small.
            del files[SCREEN]
            told = f"a screenshot of {len(crash.screen)} bytes was left out, for crashes.size is {self.limits.size}"
            crash = msgspec.structs.replace(crash, evidence=(*crash.evidence, told))
        facts = msgspec.json.format(msgspec.json.encode(bundle.facts_of(crash, id_)), indent=1) + b"\n"
        read_first = summary(crash, id_, (FACTS, *files))
        return {SUMMARY: read_first.encode(), FACTS: facts, **files}

    def _tidy(self) -> tuple[str, ...]:
        with contextlib.suppress(FileNotFoundError), self._open() as directory:
            with os.scandir(directory) as entries:
                unfinished = [entry.name for entry in entries if entry.name.startswith(_UNFINISHED)]
            for name in unfinished:
                shutil.rmtree(name, dir_fd=directory)
            return self._prune(directory, None)
        return ()

    def _prune(self, directory: int, newest: str | None) -> tuple[str, ...]:
        """Remove what is too old to be kept; the one that was just written stays, however large it is."""
        ids = self._ids()
        self._sizes = {id_: self._sizes.get(id_) or self._size(id_) for id_ in ids}
        of_guest: Counter[str] = Counter()
        room, gone = int(self.limits.size), []
        for id_ in sorted(ids, key=lambda id_: id_ != newest):
            of_guest[guest_of(id_)] += 1
            is_kept = of_guest[guest_of(id_)] <= self.limits.per_guest
            if is_kept:
                # Where one does not fit any more, none that is older stays either.
                room -= self._sizes[id_]
            if id_ != newest and not (is_kept and room >= 0):
                shutil.rmtree(id_, dir_fd=directory)
                gone.append(id_)
        return tuple(gone)

    def _size(self, id_: str) -> int:
        with contextlib.suppress(OSError), self._open(id_) as inner, os.scandir(inner) as entries:
            return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)
        return 0

    def _listing(self, guests: Collection[str]) -> tuple[list[Bundle], int]:
        ids = [id_ for id_ in self._ids() if guest_of(id_) in guests]
        return [self._bundle(id_) for id_ in ids[:LISTED]], max(0, len(ids) - LISTED)

    def _find(self, word: str, of: Callable[[str], bool]) -> Bundle:
        ids = [id_ for id_ in self._ids() if of(guest_of(id_))]
        meant: Iterable[Callable[[str], bool]] = (
            lambda id_: id_ == word,
            lambda id_: guest_of(id_) == word,
            lambda _: word == "latest",
        )
        for is_meant in meant:
            if newest := next(filter(is_meant, ids), None):
                return self._bundle(newest)
        begin = [id_ for id_ in ids if word and id_.startswith(word)]
        if not begin:
            raise QsupError(f"there is no bundle {word[:80]!r}; `qsup crashes` lists those that there are")
        if len(begin) > 1:
            few = ", ".join(begin[:5]) + (" …" if len(begin) > 5 else "")
            raise QsupError(f"{word!r} is the beginning of {len(begin)} bundles: {few}")
        return self._bundle(begin[0])

    def _bundle(self, id_: str) -> Bundle:
        facts, problem, files = None, None, {}
        try:
            with self._open(id_) as inner, os.scandir(inner) as entries:
                files = {
                    entry.name: entry.stat(follow_symlinks=False).st_size
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                }
            facts = _facts(self._piece(id_, FACTS, 0, FACTS_LIMIT + 1))
        except OSError as error:
            problem = f"{FACTS} cannot be read: {error.strerror}"
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = f"{FACTS} cannot be used: {error}"
        return Bundle(
            id=id_,
            guest=guest_of(id_),
            at=bundle.time_of(_stamp(id_)) if facts is None else facts.at,
            directory=f"{self.directory}/{id_}",
            files=dict(sorted(files.items())),
            facts=facts,
            problem=problem,
        )

    def _piece(self, id_: str, file: str, offset: int, limit: int) -> bytes:
        if ID.fullmatch(id_) is None or "/" in file or file in ("", ".", ".."):
            raise ValueError("no name of a bundle, or of a file in one")
        with self._open(id_) as inner:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inner)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("no file")
            return os.pread(fd, limit, offset)
        finally:
            os.close(fd)


def guest_of(id_: str) -> str:
    """The guest that a bundle is about, by its id."""
    found = ID.fullmatch(id_)
    return found["guest"] if found else ""


def no_file(id_: str, file: str) -> QsupError:
    """What is said of a file that is not there."""
    return QsupError(f"there is no {file[:80]!r} in {id_[:80]}, or not any more")


def _stamp(id_: str) -> str:
    found = ID.fullmatch(id_)
    return found["stamp"] if found else ""


def _facts(data: bytes) -> Facts:
    if len(data) > FACTS_LIMIT:
        raise ValueError(f"larger than {FACTS_LIMIT} bytes")
    facts = msgspec.json.decode(data, type=Facts)
    if facts.version > bundle.VERSION:
        raise ValueError(f"written by a newer qsup: version {facts.version}, this one knows {bundle.VERSION}")
    return facts


def _write_files(directory: int, files: dict[str, bytes]) -> None:
    """Write new files, and return once they are on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.ExitStack() as written:
        fds = []
        for name, data in files.items():
            file = written.enter_context(open(os.open(name, flags, 0o600, dir_fd=directory), "wb"))
            file.write(data)
            file.flush()
            fds.append(file.fileno())
        # Only now: most file systems bring all to the disk with the first.
        for fd in (*fds, directory):
            os.fsync(fd)
