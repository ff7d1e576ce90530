"""From the configuration directory to specs: read, merge, convert, check. Problems are values, never exceptions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import tomli

from qsup.spec.check import check
from qsup.spec.codec import decode_hook
from qsup.spec.explain import Finding, explain
from qsup.spec.locate import locate
from qsup.spec.model import NAME_PATTERN, DaemonConfig, GuestSpec, Section
from qsup.spec.problem import Problem, nearest, shown

if TYPE_CHECKING:
    from pathlib import Path

FILE_LIMIT: Final = 1 << 20
"""Bytes; a guest file of a hundred devices has some ten thousand."""
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


class Document(msgspec.Struct, frozen=True):
    """One file, read: its table, and its text for finding lines."""

    label: str
    text: str
    table: dict[str, Any]

    def problem(self, path: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a key of this file, with the line of the key or of what it should stand in."""
        lines = locate(self.text)
        nearby = path
        while nearby and nearby not in lines:
            nearby = nearby[:-1]
        return Problem(self.label, lines.get(nearby), _dotted(path), message)

    def holds(self, path: tuple[str | int, ...]) -> bool:
        """Whether the file says something at this path."""
        value: Any = self.table
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return False
        return True


class Declared(msgspec.Struct, frozen=True):
    """A guest as far as it could be read, and the files that it comes from: its own first."""

    spec: GuestSpec
    documents: tuple[Document, ...]

    def problem(self, path: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a key, in the file that says it: the guest's own, or the last profile that does."""
        own, *profiles = self.documents
        for document in (own, *reversed(profiles)):
            if document.holds(path):
                return document.problem(path, message)
        return own.problem(path, message)


def load(config: Path) -> Configuration:
    """Read the directory: ``qsup.toml``, ``guests/*.toml``, ``profiles/*.toml``. What is missing is empty."""
    problems: list[Problem] = []
    daemon = _daemon(config, problems)
    profiles = {path.stem: _read(config, path) for path in _toml_files(config / "profiles")}
    declared: dict[str, Declared] = {}
    files: dict[str, str] = {}
    by_guest: dict[str, tuple[Problem, ...]] = {}
    paths = _toml_files(config / "guests")
    if len(paths) > COUNT_LIMIT:
        problems.append(Problem("guests", None, "", f"more than {COUNT_LIMIT} files; the rest is not read"))
    for path in paths[:COUNT_LIMIT]:
        files[path.stem] = str(path)
        guest = _guest(config, path, profiles)
        if isinstance(guest, Declared):
            declared[path.stem] = guest
        else:
            by_guest[path.stem] = tuple(guest)
    for name, found in check(declared, files).items():
        by_guest[name] = tuple(found)
    # A problem of a profile is one problem, however many guests take the profile.
    problems.extend(sorted({problem for found in by_guest.values() for problem in found}, key=_order))
    guests = {name: guest.spec for name, guest in declared.items() if name not in by_guest}
    return Configuration(guests, files, daemon, tuple(problems), by_guest)


def _order(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line or 0, problem.key


def _daemon(config: Path, problems: list[Problem]) -> DaemonConfig:
    path = config / DAEMON_FILE
    if not path.exists():
        return DaemonConfig()
    document = _read(config, path)
    if isinstance(document, Problem):
        problems.append(document)
        return DaemonConfig()
    spec, findings = _convert(DaemonConfig, document.table, str(config), frozenset())
    problems.extend(document.problem(path, message) for path, message in findings)
    return spec if isinstance(spec, DaemonConfig) else DaemonConfig()


def _toml_files(directory: Path) -> list[Path]:
    """The files to read; hidden ones and those of editors are not ours."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == ".toml" and path.name[0] != ".")
    except OSError:
        return []


def _read(config: Path, path: Path) -> Document | Problem:
    label = str(path.relative_to(config))
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            return Problem(label, None, "", f"larger than {FILE_LIMIT >> 20} MiB: that is no configuration")
        text = data.decode()
        return Document(label, text.replace("\r\n", "\n"), tomli.loads(text))
    except OSError as error:
        return Problem(label, None, "", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return Problem(label, data[: error.start].count(b"\n") + 1, "", "not UTF-8, which TOML is written in")
    except tomli.TOMLDecodeError as error:
        message = re.sub(r" \(at (?:line \d+, column \d+|end of document)\)$", "", str(error))
        return Problem(label, getattr(error, "lineno", None), "", f"not TOML: {message}")
    except (RecursionError, ValueError) as error:
        return Problem(label, None, "", f"not TOML: {type(error).__name__}")


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
                document.problem(("profile", number), f"there is no profiles/{shown(name)[1:-1]}.toml{near}")
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


def _dotted(path: tuple[str | int, ...]) -> str:
    """A path as a person writes it: ``disk.root.file``, ``nic.lan.forward[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_key(part)}" if text else _key(part)
    return text


def _key(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else shown(part)
