"""The facts of QEMU binaries: asked once, then remembered in memory and in files, for as long as nothing changes.

A record holds what the answers depend on, beside the binary itself: the program behind a wrapper script, the modules
that QEMU can load, the kernel and what it gives us (KVM, vhost-net). If one of them has changed, QEMU is asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.facts import HostFacts
from qsup.atomic import read_file, write_whole
from qsup.errors import LaunchError
from qsup.probe.ask import find_out
from qsup.probe.kvm import kvm_trouble
from qsup.probe.uring import io_uring
from qsup.probe.vhost import vhost_net

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

VERSION: Final = 3
"""Of the record, and of what is asked: a change of either needs another number."""
LIMIT: Final = 4 << 20
"""Bytes of a record; QEMU 10's has some 200 kB."""
MODULES: Final = tuple(
    f"/usr/{place}/qemu" for place in ("lib/x86_64-linux-gnu", "lib64", "lib", "local/lib", "local/lib64")
)
"""Where QEMU's modules are, by distribution: one that is installed later changes what QEMU can do."""
MAPPED_LIMIT: Final = 1 << 20
"""Bytes of a process's map of its memory that are read."""


class Mark(msgspec.Struct, frozen=True):
    """One file or directory as it was; a size of -1 means that it was not there."""

    path: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Mark:
        """The file as it is now."""
        try:
            found = os.stat(path)
        except OSError:
            return cls(path, -1, 0, 0)
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)


class Record(msgspec.Struct, frozen=True):
    """What was found out, and what it depends on."""

    version: int
    marks: tuple[Mark, ...]
    """The binary first."""
    boot: str
    kvm_trouble: str | None
    facts: HostFacts

    def holds(self, boot: str) -> bool:
        """Whether nothing has changed since."""
        return (
            self.version == VERSION
            and self.boot == boot
            and self.kvm_trouble == kvm_trouble()
            and self.facts.vhost_net == vhost_net()
            and self.facts.io_uring == io_uring()
            and all(mark == Mark.of(mark.path) for mark in self.marks)
        )


class Prober:
    """Answers for the facts of binaries. May be used by several threads; asks each binary once at a time.

    ``cache`` is the directory of the records, made when it is needed; None keeps them in memory only. ``boot`` is
    the id of this boot of the host, on which the kernel and its modules depend.
    """

    def __init__(self, cache: Path | None, boot: str) -> None:
        self._cache = cache
        self._boot = boot
        self._known: dict[str, Record] = {}
        # One for each binary: who waits for a QEMU that hangs holds up nobody else.
        self._locks: dict[str, threading.Lock] = {}
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        """Let all go who wait for an answer, with LaunchError, and ask nobody any more."""
        os.eventfd_write(self._stop, 1)

    def __del__(self) -> None:
        os.close(self._stop)

    def facts(self, binary: str) -> HostFacts:
        """What the binary can do on this host: microseconds if known, milliseconds if on record, else a second.

        Raises LaunchError if it is not there, cannot be executed, or does not answer as a QEMU does.
        """
        known = self._known.get(binary)
        if known is not None and known.holds(self._boot):
            return known.facts
        with self._locks.setdefault(binary, threading.Lock()):
            _executable(binary)
            known = self._known.get(binary)
            if known is None or not known.holds(self._boot):
                known = self._read(binary) or self._ask(binary)
                self._known[binary] = known
        return known.facts

    def _ask(self, binary: str) -> Record:
        # What changes while QEMU is being asked must not look as if it had been so before.
        before = Mark.of(binary)
        trouble = kvm_trouble()
        behind: set[str] = set()
        facts = find_out(binary, lambda pid: behind.update(_mapped(pid)), self._stop)
        paths = sorted({*behind, *MODULES} - {binary})
        record = Record(VERSION, (before, *map(Mark.of, paths)), self._boot, trouble, facts)
        self._write(binary, record)
        return record

    def _file(self, binary: str) -> Path | None:
        name = hashlib.sha256(os.fsencode(binary)).hexdigest()[:24]
        return None if self._cache is None else self._cache / f"qemu-{name}.json"

    def _read(self, binary: str) -> Record | None:
        """The record, if there is one that still holds; whatever else is there is no record."""
        path = self._file(binary)
        if path is None:
            return None
        try:
            record = msgspec.json.decode(read_file(path, LIMIT), type=Record)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        same = record.facts.binary == binary and bool(record.marks) and record.marks[0].path == binary
        return record if same and record.holds(self._boot) else None

    def _write(self, binary: str, record: Record) -> None:
        """Keep a record; without one QEMU is asked again, which is no reason to fail."""
        path = self._file(binary)
        if path is None:
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, msgspec.json.encode(record), durable=False)
        except OSError as error:
            log.warning("what %s can do cannot be kept in %s: %s, ignoring", binary, path, error)


def _executable(binary: str) -> None:
    if not os.path.exists(binary):
        raise LaunchError(
            f"{binary} does not exist; install QEMU (Debian: qemu-system-x86, Fedora: qemu-system-x86-core), "
            "or name the binary: qemu-binary in qsup.toml, [qemu] binary in the guest's file"
        )
    if not os.path.isfile(binary) or not os.access(binary, os.X_OK):
        raise LaunchError(f"{binary} is not an executable file")


def _mapped(pid: int) -> Iterable[str]:
    """The program that a process runs, also behind a wrapper or a loader, and the directories of its modules."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file.read(MAPPED_LIMIT).splitlines():
            path = os.fsdecode(line.split(maxsplit=5)[-1])
            folder, _, name = path.rpartition("/")
            if name.startswith("qemu-system"):
                yield path
            elif folder.endswith("/qemu") and name.endswith(".so"):
                yield folder
