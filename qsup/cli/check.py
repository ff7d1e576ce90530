"""``qsup check``: whether guest files can be used, and whether this host can do what they ask. Needs no daemon.

What is wrong in the files is wrong everywhere, and fails. What this host lacks now is told apart from it, and fails
only with ``--strict``: a file may be written on one host for another. So ``qsup check --no-host FILE…`` is what a
pre-commit hook runs, for which no QEMU need be installed, and ``qsup check --strict`` what a host's own check runs.
"""

from __future__ import annotations

import contextlib
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from qsup import clock, paths
from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.cli import fast
from qsup.cli.output import show, show_json
from qsup.cli.selection import by_directory, guests_of
from qsup.control.client import Client
from qsup.control.text import printable
from qsup.errors import QsupError, SpecError, UsageError
from qsup.preflight import alerts
from qsup.preflight.survey import NO_LAUNCH, survey
from qsup.probe.prober import Prober
from qsup.probe.programs import Programs
from qsup.proc import lock
from qsup.scope.ground import look
from qsup.spec.load import DAEMON_FILE, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.cli.arguments import Options
    from qsup.spec.load import Configuration
    from qsup.spec.model import GuestSpec
    from qsup.spec.problem import Problem


class Kind(StrEnum):
    """What a finding is: ``wrong`` in itself, not possible on this ``host``, or a ``note`` that stops nothing."""

    WRONG = "wrong"
    HOST = "host"
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One finding, as ``--json`` has it; what is not known, or is about no single guest, is null or empty."""

    kind: Kind
    guest: str | None
    file: str | None
    """Below the working directory relative to it, else absolute."""
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file or "this host"
        lead = {Kind.WRONG: "", Kind.HOST: "not possible on this host: ", Kind.NOTE: "note: "}[self.kind]
        return ": ".join(part for part in (place, self.key, f"{lead}{self.message}") if part)


def check(options: Options) -> int:
    """Print every finding; return 1 if something is wrong in the files, or with ``--strict`` on this host."""
    found: list[Finding] = []
    guests = 0
    daemon, pid = _daemon(options)
    for directory, labels in _directories(options, daemon).items():
        if not directory.is_dir():
            raise UsageError(f"there is no directory {directory}; name the configuration with --config")
        configuration = load(directory)
        names = guests_of(configuration, labels) if labels else sorted(configuration.files)
        guests += len(names)
        found += _wrong(configuration, directory, names, labels)
        if options.host:
            found += _lacking(configuration, directory, names, daemon, pid)
            if not labels or DAEMON_FILE in labels:
                found += _lacking_for_alerts(configuration, directory)
    if options.json:
        show_json({"guests": guests, "findings": msgspec.to_builtins(found)})
    else:
        show("".join(f"{printable(str(finding))}\n" for finding in found))
        show(f"{_summary(guests, found)}\n")
    failing = {Kind.WRONG, Kind.HOST} if options.strict else {Kind.WRONG}
    return 1 if any(finding.kind in failing for finding in found) else 0


def _summary(guests: int, found: list[Finding]) -> str:
    kinds = [finding.kind for finding in found]
    parts = [_count(guests, "guest"), _count(kinds.count(Kind.WRONG), "problem")]
    if Kind.HOST in kinds:
        parts.append(f"{_count(kinds.count(Kind.HOST), 'obstacle')} on this host")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _daemon(options: Options) -> tuple[paths.Paths | None, int | str]:
    """The directories of the daemon that runs here, else those that one would have, None if there can be none.

    And the process of that daemon, for which this one stands if there is none.
    """
    socket_path = options.socket or fast.socket_path()
    if socket_path is not None:
        with contextlib.suppress(QsupError, KeyError), Client(socket_path) as daemon:
            told = daemon.call("query-version", {})
            found = paths.Paths(Path(told["config"]), Path(told["runtime"]), Path(told["state"]))
            return found, int(told["pid"])
    with contextlib.suppress(UsageError, RuntimeError):
        return paths.default_paths(), "self"
    return None, "self"


def _directories(options: Options, daemon: paths.Paths | None) -> dict[Path, list[str]]:
    """The configuration directories to look at, and the files to look at in each; none means all."""
    if options.files:
        return dict(by_directory(options.files, options.config))
    if options.config is not None:
        return {Path(options.config): []}
    if daemon is None:
        raise UsageError("there is no configuration directory to look at; name one with --config")
    return {daemon.config: []}


def _wrong(
    configuration: Configuration, directory: Path, names: list[str], labels: list[str]
) -> Iterator[Finding]:
    """What is wrong in the files themselves, on whatever host."""
    owners: dict[Problem, list[str]] = {}
    for name, some in configuration.by_guest.items():
        for problem in some:
            owners.setdefault(problem, []).append(name)
    for problem in configuration.problems:
        concerned = owners.get(problem, [])
        if not labels or problem.file in labels or not {*names}.isdisjoint({*concerned, *problem.also}):
            # What stands in a profile is a problem of all guests that take it, and of none in particular.
            guest = concerned[0] if len(concerned) == 1 else None
            yield _of(problem, Kind.WRONG, guest, directory)
    for name in names:
        spec = configuration.guests.get(name)
        if spec is not None:
            try:
                build(spec, HostFacts(binary="qemu-system-x86_64", kvm=True), NO_LAUNCH)
            except SpecError as error:
                file = _shown(configuration.files[name])
                yield Finding(Kind.WRONG, name, file, None, "", str(error).removeprefix(f"{name}: "))


def _lacking(
    configuration: Configuration,
    directory: Path,
    names: list[str],
    daemon: paths.Paths | None,
    pid: int | str,
) -> Iterator[Finding]:
    """What this host lacks for the guests whose files can be used, and what else there is to know."""
    specs = configuration.guests
    default, usual = str(configuration.daemon.qemu_binary), configuration.daemon.qemu_user

    def binary(spec: GuestSpec) -> str:
        return str(spec.qemu.binary or default)

    ours = daemon if daemon is not None and _is_same(daemon.config, directory) else None
    running = [name for name in names if ours and lock.is_taken(ours.guest_state(name) / "lock")]
    prober = Prober(paths.cache_of(daemon), clock.boot_id())
    programs = Programs(configuration.daemon)
    wanted = [name for name in names if name in specs]
    ground = look(pid, enabled=configuration.daemon.scopes)
    for guest, (path, message, fatal) in survey(
        specs, wanted, binary, prober, programs, running, ground, usual
    ):
        kind = Kind.HOST if fatal else Kind.NOTE
        if guest is None:
            yield Finding(kind, None, None, None, "", message)
        else:
            yield _of(configuration.sources[guest].problem(path, message), kind, guest, directory)


def _lacking_for_alerts(configuration: Configuration, directory: Path) -> Iterator[Finding]:
    source = configuration.daemon_source
    if source is not None:
        for path, message, fatal in alerts.obstacles(configuration.daemon):
            kind = Kind.HOST if fatal else Kind.NOTE
            yield _of(source.problem(path, message), kind, None, directory)


def _of(problem: Problem, kind: Kind, guest: str | None, directory: Path) -> Finding:
    file = _shown(os.path.join(os.path.abspath(directory), problem.file))
    return Finding(kind, guest, file, problem.line, problem.key, problem.message)


def _shown(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False
