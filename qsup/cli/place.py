"""Where the configuration is, for what reads and writes guest files itself."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from qsup import paths
from qsup.cli import fast
from qsup.control.client import Client
from qsup.errors import QsupError, UsageError

if TYPE_CHECKING:
    from qsup.cli.arguments import Options


def directory(options: Options) -> Path:
    """The configuration directory: the one named, the daemon's, or the default. Raises UsageError if there is none."""
    found = (
        Path(options.config)
        if options.config is not None
        else _daemons(options) or paths.default_paths().config
    )
    if not found.is_dir():
        raise UsageError(f"there is no directory {found}; name the configuration with --config")
    return found.absolute()


def _daemons(options: Options) -> Path | None:
    """The directory that the daemon reads, if one answers."""
    socket_path = options.socket or fast.socket_path()
    if socket_path is not None:
        with contextlib.suppress(QsupError), Client(socket_path) as daemon:
            return Path(daemon.call("query-version", {})["config"])
    return None


def read_again(options: Options, config: Path) -> None:
    """Let the daemon, if it reads this directory, read it now: what was written holds for the next command.

    By itself it would do so too, but a moment later. Where it may not be told to, that has to do.
    """
    socket_path = options.socket or fast.socket_path()
    if socket_path is None:
        return
    with contextlib.suppress(QsupError, OSError), Client(socket_path) as daemon:
        if config.samefile(daemon.call("query-version", {})["config"]):
            daemon.call("reload-config", {})
