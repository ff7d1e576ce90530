"""From the configuration directory to specs: read, merge, convert, check. Problems are values, never exceptions."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.spec.check import check, wrong
from qsup.spec.codec import decode_hook
from qsup.spec.common import spread
from qsup.spec.document import Declared, Document, Sources
from qsup.spec.explain import explain
from qsup.spec.files import NOTHING, Folder, read
from qsup.spec.layers import Layers, merged, profiles_of
from qsup.spec.model import NAME, DaemonConfig, GuestSpec
from qsup.spec.problem import Problem, printable, shown
from qsup.spec.specifiers import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qsup.spec.base import Finding, Section

DAEMON_FILE: Final = "qsup.toml"
_NAME: Final = re.compile(str(NAME.pattern), re.ASCII)


class Configuration(msgspec.Struct, frozen=True):
    """All that the files say, and all that is wrong with them."""

    guests: dict[str, GuestSpec]
    files: dict[str, str]
    """Of every guest, usable or not, its file."""
    daemon: DaemonConfig
    daemon_broken: bool
    """Whether ``qsup.toml`` is there and cannot be used: ``daemon`` holds the defaults then."""
    daemon_source: Document | None
    """``qsup.toml``, if it is there and can be read."""
    problems: tuple[Problem, ...]
    by_guest: dict[str, tuple[Problem, ...]]
    """The problems of each guest whose file is there and cannot be used."""
    sources: dict[str, Sources]
    """Where everything is said about each guest that could be read."""

    @property
    def usable(self) -> bool:
        """Whether the daemon's own file can be used; if not, ``daemon`` holds the defaults."""
        return all(problem.file != DAEMON_FILE for problem in self.problems)

    @property
    def broken(self) -> frozenset[str]:
        """Guests whose file is there and cannot be used."""
        return frozenset(self.by_guest)

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """The problems in the guest's own file and the profiles that it names."""
        return self.by_guest.get(name, ())


def load(config: Path, instead: Mapping[str, bytes] = NOTHING) -> Configuration:
    """Read the directory: ``qsup.toml``, ``guests/*.toml``, ``profiles/*.toml``. What is missing is empty.

    ``instead`` has files of guests, by their names relative to the directory, that are read as if they were written so:
    then the answer tells what writing them would mean.
    """
    root = str(config.absolute())
    problems: list[Problem] = []
    daemon, source = _daemon(root, problems)
    folder = Folder(root, "profiles", problems)
    profiles = {stem: folder.read(stem) for stem in folder.stems}
    # A profile that cannot be read is told of even if nobody takes it yet.
    problems.extend(profile for profile in profiles.values() if isinstance(profile, Problem))
    layers = Layers(Folder(root, "guests", problems, instead))
    problems.extend(layers.problems())
    declared: dict[str, Declared] = {}
    by_guest: dict[str, tuple[Problem, ...]] = {}
    for name in layers.names:
        guest = _guest(root, name, layers, profiles)
        if isinstance(guest, Declared):
            declared[name] = guest
        else:
            by_guest[name] = tuple(guest)
    for name, found in check(declared, layers.names).items():
        by_guest[name] = tuple(found)
    problems.extend(problem for found in by_guest.values() for problem in found)
    return Configuration(
        guests={name: guest.spec for name, guest in declared.items() if name not in by_guest},
        files={name: f"{root}/{layers.file(name)}" for name in layers.names},
        daemon=daemon or DaemonConfig(),
        daemon_broken=daemon is None,
        daemon_source=source,
        # A problem of a profile is one problem, however many guests take the profile.
        problems=tuple(sorted(set(problems), key=_order)),
        by_guest=by_guest,
        sources={name: guest.sources for name, guest in declared.items()},
    )


def _order(problem: Problem) -> tuple[str, int, str, str]:
    return problem.file, problem.line or 0, problem.key, problem.message


def _daemon(root: str, problems: list[Problem]) -> tuple[DaemonConfig | None, Document | None]:
    """What the daemon's own file says, without one the defaults, None if it cannot be used; and the file."""
    if not os.path.lexists(f"{root}/{DAEMON_FILE}"):
        return DaemonConfig(), None
    document = read(root, DAEMON_FILE)
    if isinstance(document, Problem):
        problems.append(document)
        return None, None
    spec, findings = _convert(DaemonConfig, document.table, root, frozenset())
    if isinstance(spec, DaemonConfig):
        findings = list(wrong(spec))
    problems.extend(document.problem(path, message) for path, message in findings)
    return (spec if isinstance(spec, DaemonConfig) and not findings else None), document


def _guest(
    root: str, name: str, layers: Layers, profiles: dict[str, Document | Problem]
) -> Declared | list[Problem]:
    if not _NAME.fullmatch(name):
        rule = (NAME.extra or {})["form"]
        label = printable(layers.file(name))
        return [Problem(label, None, "", f"{shown(name)} cannot be a guest's name: {rule}")]
    own, main = layers.documents(name)
    documents = [document for document in own if isinstance(document, Document)]
    if len(documents) < len(own):
        return [problem for problem in own if isinstance(problem, Problem)]
    said = merged(document.table for document in documents)
    sources = Sources(tuple(reversed(documents)), documents[main])
    taken, problems = profiles_of(said, name, profiles, sources)
    if problems:
        return problems
    sources = Sources((*sources.documents, *reversed(taken)), sources.main)
    table = merged((*(profile.table for profile in taken), said))
    findings: list[Finding] = []
    if any(document.may_hold_specifiers for document in sources.documents):
        table, findings = resolve(table, name)
    table, unused = spread(table, root)
    spec, wrong = _convert(GuestSpec, table, root, frozenset({"name"}), name=name)
    findings += unused + wrong
    return [sources.problem(*finding) for finding in findings] if findings else Declared(spec, sources)


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
