"""From the configuration directory to specs: read, merge, convert, check. Problems are values, never exceptions."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.spec.check import check
from qsup.spec.codec import decode_hook
from qsup.spec.document import FILE_LIMIT, Declared, Document, parse
from qsup.spec.explain import Finding, explain
from qsup.spec.model import NAME_PATTERN, DaemonConfig, GuestSpec
from qsup.spec.problem import Problem, nearest, printable, shown

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.spec.base import Section

COUNT_LIMIT: Final = 10_000
"""Guest files in one directory."""
DAEMON_FILE: Final = "qsup.toml"
_NAME: Final = re.compile(NAME_PATTERN, re.ASCII)


class Configuration(msgspec.Struct, frozen=True):
    """All that the files say, and all that is wrong with them."""

    guests: dict[str, GuestSpec]
    files: dict[str, str]
    """Of every guest, usable or not, its file."""
    daemon: DaemonConfig
    problems: tuple[Problem, ...]
    by_guest: dict[str, tuple[Problem, ...]]
    """The problems of each guest whose file is there and cannot be used."""

    @property
    def broken(self) -> frozenset[str]:
        """Guests whose file is there and cannot be used."""
        return frozenset(self.by_guest)

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """The problems in the guest's own file and the profiles that it names."""
        return self.by_guest.get(name, ())


def load(config: Path) -> Configuration:
    """Read the directory: ``qsup.toml``, ``guests/*.toml``, ``profiles/*.toml``. What is missing is empty."""
    config = config.absolute()
    problems: list[Problem] = []
    daemon = _daemon(config, problems)
    profiles = {path.stem: _read(config, path) for path in _toml_files(config, "profiles", problems)}
    # A profile that cannot be read is told of even if nobody takes it yet.
    problems.extend(profile for profile in profiles.values() if isinstance(profile, Problem))
    files = {path.stem: str(path) for path in _toml_files(config, "guests", problems)}
    declared: dict[str, Declared] = {}
    by_guest: dict[str, tuple[Problem, ...]] = {}
    for name, file in files.items():
        guest = _guest(config, config / file, profiles)
        if isinstance(guest, Declared):
            declared[name] = guest
        else:
            by_guest[name] = tuple(guest)
    for name, found in check(declared, files).items():
        by_guest[name] = tuple(found)
    problems.extend(problem for found in by_guest.values() for problem in found)
    guests = {name: guest.spec for name, guest in declared.items() if name not in by_guest}
    # A problem of a profile is one problem, however many guests take the profile.
    return Configuration(guests, files, daemon, tuple(sorted(set(problems), key=_order)), by_guest)


def _order(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line or 0, problem.key


def _daemon(config: Path, problems: list[Problem]) -> DaemonConfig:
    path = config / DAEMON_FILE
    if not os.path.lexists(path):
        return DaemonConfig()
    document = _read(config, path)
    if isinstance(document, Problem):
        problems.append(document)
        return DaemonConfig()
    spec, findings = _convert(DaemonConfig, document.table, str(config), frozenset())
    problems.extend(document.problem(path, message) for path, message in findings)
    return spec if isinstance(spec, DaemonConfig) else DaemonConfig()


def _toml_files(config: Path, folder: str, problems: list[Problem]) -> list[Path]:
    """The files to read, ``COUNT_LIMIT`` at most; hidden ones and those of editors are not ours."""
    try:
        found = [
            path for path in (config / folder).iterdir() if path.suffix == ".toml" and path.name[0] != "."
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(Problem(folder, None, "", f"cannot be read: {error.strerror}"))
        return []
    if len(found) > COUNT_LIMIT:
        problems.append(Problem(folder, None, "", f"more than {COUNT_LIMIT} files; the rest is not read"))
    return sorted(found)[:COUNT_LIMIT]


def _read(config: Path, path: Path) -> Document | Problem:
    label = printable(str(path.relative_to(config)))
    try:
        # A FIFO would keep the opener waiting for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return Problem(label, None, "", f"cannot be read: {error.strerror}")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Problem(label, None, "", "cannot be read: it is no regular file")
        with open(fd, "rb", closefd=False) as file:
            return parse(label, file.read(FILE_LIMIT + 1))
    except OSError as error:
        return Problem(label, None, "", f"cannot be read: {error.strerror}")
    finally:
        os.close(fd)


def _guest(config: Path, path: Path, profiles: dict[str, Document | Problem]) -> Declared | list[Problem]:
    document = _read(config, path)
    if isinstance(document, Problem):
        return [document]
    if not _NAME.fullmatch(path.stem):
        rule = "a letter, then up to 47 letters, digits, or any of _ . -"
        return [Problem(document.label, None, "", f"{shown(path.stem)} cannot be a guest's name: {rule}")]
    documents, problems = _profiles(document, profiles)
    if problems:
        return problems
    merged: dict[str, Any] = {}
    for one in (*documents, document):
        merged = _merge(merged, one.table)
    spec, findings = _convert(GuestSpec, merged, str(config), frozenset({"name"}), name=path.stem)
    if spec is not None:
        return Declared(spec, (document, *documents))
    shell = Declared(GuestSpec(name=path.stem), (document, *documents))
    return [shell.problem(where, message) for where, message in findings]


def _profiles(
    document: Document, known: dict[str, Document | Problem]
) -> tuple[tuple[Document, ...], list[Problem]]:
    """The profiles that a guest's file names, in order."""
    names = document.table.get("profile", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        hint = f"; write [{shown(names)}]" if isinstance(names, str) else ""
        return (), [document.problem(("profile",), f"must be an array of names, not {shown(names)}{hint}")]
    found: list[Document] = []
    problems: list[Problem] = []
    for number, name in enumerate(names):
        profile = known.get(name)
        if profile is None:
            near = nearest(name, known)
            problems.append(
                document.problem(("profile", number), f"there is no profile {shown(name)} in profiles/{near}")
            )
        elif isinstance(profile, Problem):
            problems.append(profile)
        elif "profile" in profile.table:
            problems.append(
                profile.problem(("profile",), "a profile cannot name profiles; name all in the guest's file")
            )
        else:
            found.append(profile)
    return tuple(found), problems


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key, all else is replaced; neither argument is changed."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _convert(
    section: type[Section], table: dict[str, Any], base: str, skip: frozenset[str], **given: str
) -> tuple[Any, list[Finding]]:
    """The section that a table declares, or all that keeps it from being one."""
    if skip.isdisjoint(table):
        try:
            return msgspec.convert({**table, **given}, section, strict=True, dec_hook=decode_hook(base)), []
        except (msgspec.ValidationError, ValueError, TypeError, RecursionError) as error:
            refusal = str(error)
    else:
        refusal = "it holds keys that are not allowed"
    return None, explain(section, table, base, skip) or [((), refusal)]
