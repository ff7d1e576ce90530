"""The helper programs of this host: where they are, and which options they have.

Each is looked for where ``qsup.toml`` says, if it does. Else swtpm and passt are those in the PATH; virtiofsd is the
one that QEMU's back-end descriptors name (QEMU: docs/interop/vhost-user.json), the administrator's before the
distribution's, and without one it is looked for where distributions put it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.facts import HostFacts, Program
from qsup.probe.conversation import Bounds
from qsup.probe.listing import printed
from qsup.probe.prober import Mark
from qsup.spec.programs import ASSUMED, PASST, SWTPM, VIRTIOFSD, needed

if TYPE_CHECKING:
    from qsup.spec.model import DaemonConfig, GuestSpec

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DESCRIPTORS: Final = ("/etc/qemu/vhost-user", "/usr/share/qemu/vhost-user")
"""Of two files with one name, the one in the first directory counts; the names' order decides."""
DESCRIPTOR_LIMIT: Final = 64 << 10
USUAL: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")
PATIENCE: Final = 5.0
"""Seconds for ``--help``."""
_OPTION: Final = re.compile(rb"--[a-z][a-z0-9-]+")


class _Descriptor(msgspec.Struct):
    type: str
    binary: str


class Programs:
    """Finds helper programs; asks each for its options once, until its file changes."""

    def __init__(self, daemon: DaemonConfig) -> None:
        self._named = {SWTPM: daemon.swtpm, VIRTIOFSD: daemon.virtiofsd, PASST: daemon.passt}
        self._known: dict[str, tuple[Mark, frozenset[str]]] = {}

    def added(self, facts: HostFacts, spec: GuestSpec) -> HostFacts:
        """The facts, and what there is to know of the programs that a guest needs."""
        programs = {name: self._find(name) for name, _ in needed(spec)}
        return msgspec.structs.replace(facts, programs=programs) if programs else facts

    def _find(self, name: str) -> Program:
        named = self._named[name]
        path = str(named) if named is not None else self._search(name)
        if path is None or not os.path.isfile(path) or not os.access(path, os.X_OK):
            return Program(path or ASSUMED[name], found=False)
        return Program(path, self._options(path))

    @staticmethod
    def _search(name: str) -> str | None:
        places = [*_described(), *USUAL] if name == VIRTIOFSD else []
        return next((place for place in places if os.access(place, os.X_OK)), shutil.which(name, path=PATH))

    def _options(self, path: str) -> frozenset[str]:
        mark, known = self._known.get(path, (None, frozenset()))
        now = Mark.of(path)
        if mark != now:
            known = _asked(path)
            self._known[path] = (now, known)
        return known


def _asked(path: str) -> frozenset[str]:
    """The long options that the program's help names; none if it does not tell."""
    told = printed([path, "--help"], Bounds(time.monotonic() + PATIENCE), errors=True)
    return frozenset(option.decode() for option in _OPTION.findall(told))


def _described() -> list[str]:
    """The binaries that the descriptors of type ``fs`` name."""
    files: dict[str, str] = {}
    for directory in reversed(DESCRIPTORS):
        with contextlib.suppress(OSError):
            files |= {name: os.path.join(directory, name) for name in os.listdir(directory)}
    binaries = []
    for name in sorted(files):
        with (
            contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError),
            open(files[name], "rb") as file,
        ):
            found = msgspec.json.decode(file.read(DESCRIPTOR_LIMIT), type=_Descriptor)
            if found.type == "fs":
                binaries.append(found.binary)
    return binaries
