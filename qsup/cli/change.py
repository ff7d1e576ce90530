"""``qsup set``, and what all changes of a guest's file need: what they would mean, and writing whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qsup.cli.output import show, show_json
from qsup.cli.place import directory, read_again
from qsup.control.text import printable_lines
from qsup.errors import GuestNotFound, QsupError, SpecError, UsageError
from qsup.spec.assign import assigned, assignment
from qsup.spec.diff import diff
from qsup.spec.layers import template_of
from qsup.spec.load import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.cli.arguments import Options
    from qsup.spec.load import Configuration
    from qsup.spec.problem import Problem

OVERRIDE: Final = "override.toml"
"""The drop-in that holds what was changed of an instance without a file of its own; systemctl calls its so as well."""
NEW_FILE: Final = 0o644


@dataclass(frozen=True)
class Target:
    """The file that holds what is changed of a guest or a template."""

    config: Path
    file: str
    """Relative to the configuration directory."""

    @property
    def path(self) -> Path:
        """The file itself, where it is a link what it leads to."""
        return Path(os.path.realpath(self.config / self.file))

    @cached_property
    def before(self) -> bytes | None:
        """What stands in it when it is first looked at; None if it is not there."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise QsupError(f"{self.path} cannot be read: {error.strerror}") from error


def target(config: Path, name: str) -> Target:
    """The file that a change of a guest, or of a template as ``web@``, belongs into. Raises GuestNotFound.

    For an instance that is made of its template alone that is a drop-in: the template is what all have in common.
    """
    own, template = config / f"guests/{name}.toml", config / f"guests/{template_of(name)}.toml"
    if os.sep in name:
        raise UsageError(f"{name!r} is no name of a guest; give the name, not the file")
    is_link = own.exists() and template.exists() and own.samefile(template)
    if own.exists() and not is_link:
        return Target(config, f"guests/{name}.toml")
    if (
        template_of(name)
        and template.exists()
        and (own.exists() or (config / f"guests/{name}.toml.d").is_dir())
    ):
        return Target(config, f"guests/{name}.toml.d/{OVERRIDE}")
    raise GuestNotFound(f"there is no {own}; `qsup new {name}` makes it")


@dataclass(frozen=True)
class Change:
    """The configuration as it is, and as it would be."""

    now: Configuration
    then: Configuration

    @classmethod
    def of(cls, target: Target, data: bytes) -> Change:
        """What it would mean if these bytes stood in the file."""
        return cls(load(target.config), load(target.config, {target.file: data}))

    @property
    def new_problems(self) -> list[Problem]:
        """Those that the change makes; one that was there before has only moved if its line is another."""
        known = {(problem.file, problem.key, problem.message) for problem in self.now.problems}
        return [
            problem
            for problem in self.then.problems
            if (problem.file, problem.key, problem.message) not in known
        ]

    def effects(self) -> Iterator[tuple[str, str, bool]]:
        """What would differ: guest, what of it, and whether only a restart brings it about."""
        for name in sorted({*self.now.guests, *self.then.guests}):
            old, new = self.now.guests.get(name), self.then.guests.get(name)
            if old is None:
                yield name, "can be used from now on" if name in self.now.broken else "is new", False
            elif new is None:
                yield name, "could not be used any longer", False
            elif old != new:
                yield from ((name, str(change), not change.live) for change in diff(old, new))

    def plan(self) -> str:
        """The effects, a line each."""
        lines = [f"{name}: {what}{' (restart needed)' * late}\n" for name, what, late in self.effects()]
        return "".join(lines) or "no guest is any different by that\n"

    def facts(self, file: Path) -> dict[str, Any]:
        """The same for programs."""
        return {
            "file": str(file),
            "changes": [
                {"guest": name, "change": what, "restart": late} for name, what, late in self.effects()
            ],
        }


def set_keys(options: Options) -> int:
    """Make the assignments in the guest's file, unless they would make a problem; tell what they change."""
    config = directory(options)
    wanted = [assignment(word) for word in options.assignments]
    with alone(config):
        file = target(config, options.guests[0])
        data = assigned(text_of(file), wanted).encode()
        change = Change.of(file, data)
        refuse(change.new_problems, f"{file.path} is as it was")
        if data != file.before:
            write(file, data)
    tell(options, file, change)
    return 0


def text_of(file: Target) -> str:
    """What stands in the file; nothing if it is not there. Raises UsageError if it is no text."""
    try:
        return (file.before or b"").decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file.path} is not UTF-8, which TOML is written in") from error


def tell(options: Options, file: Target, change: Change) -> None:
    """Print what was changed. A daemon that watches the directory reads it before the next command comes."""
    if change.then.daemon.watch:
        read_again(options, file.config)
    if options.json:
        show_json(change.facts(file.path))
    else:
        show(f"{file.path}\n{printable_lines(change.plan())}")


def refuse(problems: list[Problem], what: str) -> None:
    """Raise SpecError if there are problems."""
    if problems:
        told = "\n".join(str(problem) for problem in problems)
        raise SpecError(f"{told}\n{what}")


@contextlib.contextmanager
def alone(config: Path) -> Iterator[None]:
    """No other command changes guest files here meanwhile."""
    guests = config / "guests"
    try:
        guests.mkdir(exist_ok=True)
        fd = os.open(guests, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise QsupError(f"{guests} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write(target: Target, data: bytes) -> None:
    """Put the data in place of the file, which keeps its mode and its owner.

    Raises QsupError, with nothing done, if it is not any longer as it was when it was first looked at.
    """
    path = target.path
    if Target(target.config, target.file).before != target.before:
        raise QsupError(f"{path} has been changed by somebody else meanwhile; nothing was written")
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            if target.before is not None:
                _make_alike(fd, path)
            os.fsync(fd)
        finally:
            os.close(fd)
        if target.before is None:
            # Unlike a rename this does not replace a file that somebody has made in this moment.
            os.link(temporary, path)
            temporary.unlink()
        else:
            temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise QsupError(f"{path} cannot be written: {error.strerror}") from error


def _make_alike(fd: int, path: Path) -> None:
    """Give the new file the mode, the owner and the extended attributes (ACLs, labels) of the old one."""
    old = path.stat()
    new = os.fstat(fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & 0o7777)
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            # Some are the kernel's own to set, and set already.
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(path, name))
