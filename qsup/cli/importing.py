"""``qsup import``: guest files out of libvirt domains and command lines of QEMU. Needs no daemon."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qsup import paths
from qsup.cli.output import complain, show, show_json
from qsup.errors import QsupError, UsageError
from qsup.importer import networks
from qsup.importer.libvirt.domain import draft_of
from qsup.importer.qemu import line as qemu
from qsup.importer.settle import settle
from qsup.importer.xml import SIZE_LIMIT
from qsup.spec.problem import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.cli.arguments import Options
    from qsup.importer.settle import Imported

LIBVIRT: Final = Path("/etc/libvirt/qemu")
"""Where libvirt's daemon keeps the domains of the system; its name is the same below a user's configuration."""

QCOW: Final = b"QFI\xfb"
"""What qcow2 images begin with."""


def import_guests(options: Options) -> int:
    """Print or write a guest file for each source.

    Returns 1 if one of them gave nothing usable or, with --strict, lost something.
    """
    found: list[dict[str, Any]] = []
    failed = False
    for label, read in _sources(options):
        try:
            guest = read()
            _tell(options, label, guest, several=bool(found))
        except (QsupError, OSError) as error:
            failed = True
            found.append({"source": label, "error": clipped(_reason(error))})
            complain(f"{label}: {found[-1]['error']}")
            continue
        failed |= options.strict and not guest.is_whole
        found.append(_told(label, guest))
    if not found:
        raise UsageError(f"there is no domain in {options.dir or LIBVIRT}; name another directory with --dir")
    if options.json:
        show_json(found)
    return 1 if failed else 0


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _told(label: str, guest: Imported) -> dict[str, Any]:
    notes = [{**asdict(note), "severity": note.severity.value} for note in guest.notes]
    return {"source": label, "name": guest.name, "toml": guest.toml, "table": guest.table, "notes": notes}


def _tell(options: Options, label: str, guest: Imported, *, several: bool) -> None:
    for note in guest.notes:
        if not options.json:
            complain(f"{label}: {note.severity.value}: {clipped(str(note))}")
    target = _target(options)
    if target is not None:
        file = _write(target, guest)
        if not options.json:
            show(f"{file}\n")
    elif not options.json:
        gap = "\n" if several else ""
        show(f"{gap}# {guest.name}.toml\n{guest.toml}")


def _target(options: Options) -> Path | None:
    """The directory that files are written to, if they are."""
    if options.output is not None:
        return Path(options.output)
    if not options.write:
        return None
    config = Path(options.config) if options.config else paths.default_paths().config
    return config / "guests"


def _write(directory: Path, guest: Imported) -> Path:
    """Write a guest's file whole, where there is none yet."""
    file = directory / f"{guest.name}.toml"
    temporary = directory / f".{guest.name}.toml.new"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.write_text(guest.toml, encoding="utf-8")
        try:
            os.link(temporary, file)
        finally:
            temporary.unlink()
    except FileExistsError as error:
        raise UsageError(
            f"{file} is there already; move it away first, or import under another --name"
        ) from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    return file


class _Source:
    """One domain's file; called, it is read."""

    def __init__(self, file: Path, name: str | None) -> None:
        self._file = file
        self._name = name

    def __call__(self) -> Imported:
        with self._file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
        autostart = (self._file.parent / "autostart" / self._file.name).exists()
        draft = draft_of(data, networks.bridges(self._file.parent / "networks"), autostart=autostart)
        if self._name is not None:
            draft.rename(self._name)
        return settle(draft)


class _Line:
    """A command line of QEMU; called, it is read."""

    def __init__(self, words: list[str], name: str | None) -> None:
        self._words = words
        self._name = name

    def __call__(self) -> Imported:
        return settle(qemu.draft_of(self._words, self._name, _image_format))


def _image_format(path: str) -> str | None:
    """What the first bytes of an image tell, as QEMU would guess it; None if it cannot be read here."""
    try:
        # A FIFO would keep the opener waiting for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            return None
        return "qcow2" if os.read(fd, len(QCOW)) == QCOW else "raw"
    except OSError:
        return None
    finally:
        os.close(fd)


def _sources(options: Options) -> Iterator[tuple[str, _Source | _Line]]:
    """What is to be read, each with the name that notes give it."""
    if options.kind == "qemu":
        if options.all or not options.words:
            raise UsageError("give the command line of one guest: qsup import qemu -- qemu-system-x86_64 …")
        yield "command line", _Line(options.words, options.name)
        return
    if bool(options.words) == options.all:
        raise UsageError("name the XML files of domains, or say --all")
    if options.name is not None and (options.all or len(options.words) != 1):
        raise UsageError("--name is for one guest")
    files = sorted(_directory(options).glob("*.xml")) if options.all else map(Path, options.words)
    for file in files:
        yield clipped(str(file)), _Source(file, options.name)


def _directory(options: Options) -> Path:
    if options.dir is not None:
        return Path(options.dir)
    if os.geteuid() == 0:
        return LIBVIRT
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "libvirt" / "qemu"
