"""``qsup check``: whether guest files can be used, and whether this host can do what they ask. Needs no daemon."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup import paths
from qsup.argv.build import build
from qsup.argv.invocation import HostFacts, LaunchContext
from qsup.cli import fast
from qsup.cli.output import show, show_json
from qsup.control.client import Client
from qsup.control.text import printable_lines
from qsup.errors import QsupError, SpecError, UsageError
from qsup.preflight import preflight
from qsup.probe import probe
from qsup.spec.load import load

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.spec.load import Configuration

NO_LAUNCH: Final = LaunchContext(token="0" * 16, run_dir="/run/qsup/guests/NAME/0000000000000000")
"""Stands for a launch that is only thought of."""


def check(options: Options) -> int:
    """Print every problem of the files and return 1 if there is one.

    What only this host lacks, now, is told but is no failure: a port may be taken by the very guest that is checked.
    """
    directory = _directory(options)
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}; name the configuration with --config")
    configuration = load(directory)
    names = _names(configuration, directory, options.files)
    problems = _problems(configuration, names if options.files else None)
    obstacles = _obstacles(configuration, names)
    if options.json:
        show_json({"guests": len(names), "problems": problems, "obstacles": obstacles})
    else:
        show("".join(f"{printable_lines(text)}\n" for text in (*problems, *obstacles)))
        show(f"{_count(len(names), 'guest')}, {_count(len(problems), 'problem')}\n")
    return 1 if problems else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _directory(options: Options) -> Path:
    """The configuration directory: the one named, the one that the files are in, the daemon's, or the default."""
    if options.config is not None:
        return Path(options.config)
    if options.files:
        return Path(options.files[0]).absolute().parent.parent
    socket_path = options.socket or fast.socket_path()
    if socket_path is not None:
        with contextlib.suppress(QsupError), Client(socket_path) as daemon:
            return Path(daemon.call("query-version", {})["config"])
    return paths.default_paths().config


def _names(configuration: Configuration, directory: Path, files: list[str]) -> list[str]:
    known = sorted({*configuration.guests, *configuration.broken})
    if not files:
        return known
    names = []
    for file in files:
        path = Path(file).absolute()
        if path.parent.resolve() != (directory / "guests").resolve() or path.stem not in known:
            raise UsageError(f"{file} is no guest file in {directory / 'guests'}")
        names.append(path.stem)
    return names


def _problems(configuration: Configuration, names: list[str] | None) -> list[str]:
    """What is wrong in the files themselves, on whatever host."""
    if names is None:
        found = [str(problem) for problem in configuration.problems]
    else:
        found = [str(problem) for name in names for problem in configuration.problems_of(name)]
    for name in configuration.guests if names is None else names:
        spec = configuration.guests.get(name)
        if spec is not None:
            try:
                build(spec, HostFacts(binary="qemu-system-x86_64", kvm=True), NO_LAUNCH)
            except SpecError as error:
                found.append(f"{configuration.files[name]}: {error}")
    return found


def _obstacles(configuration: Configuration, names: list[str]) -> list[str]:
    """What this host lacks for the guests whose files can be used."""
    found = []
    for name in names:
        spec = configuration.guests.get(name)
        if spec is None:
            continue
        try:
            sentences = preflight(spec, probe(str(spec.qemu.binary or configuration.daemon.qemu_binary)))
        except QsupError as error:
            sentences = [str(error)]
        found += [f"{name}: not possible on this host: {sentence}" for sentence in sentences]
    return found
