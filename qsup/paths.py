"""Where qsup keeps what, for the system and for an ordinary user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qsup.errors import UsageError


@dataclass(frozen=True, slots=True)
class Paths:
    """The three directories of one daemon, and what lies in them."""

    config: Path
    runtime: Path
    state: Path

    @property
    def control_socket(self) -> Path:
        """The socket that ``qsup`` talks to."""
        return self.runtime / "control.sock"

    @property
    def resting(self) -> Path:
        """Which guests were paused because the host sleeps."""
        return self.runtime / "resting"

    @property
    def probe_cache(self) -> Path:
        """What QEMU binaries can do; all of it can be found out again."""
        return self.state / "probe"

    @property
    def crashes(self) -> Path:
        """The bundles that abnormal ends leave behind."""
        return self.state / "crashes"

    @property
    def history(self) -> Path:
        """Everything that happened, as SQLite keeps it."""
        return self.state / "history.db"

    @property
    def users(self) -> Path:
        """Which guests have a user of their own."""
        return self.state / "users.json"

    @property
    def guests(self) -> Path:
        """What must survive a reboot, a directory for each guest."""
        return self.state / "guests"

    @property
    def runs(self) -> Path:
        """What is gone after a reboot, a directory for each guest."""
        return self.runtime / "guests"

    def guest_runtime(self, name: str) -> Path:
        """Sockets and launch records of one guest."""
        return self.runs / name

    def guest_state(self, name: str) -> Path:
        """What must survive a reboot: the wanted state, the lock, the console logs."""
        return self.guests / name


def default_paths() -> Paths:
    """The directories of the system for root, those of the XDG base directory specification for others."""
    if os.geteuid() == 0:
        return Paths(Path("/etc/qsup"), Path("/run/qsup"), Path("/var/lib/qsup"))
    home = Path.home()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise UsageError("XDG_RUNTIME_DIR is not set; name the directory with --runtime-dir")
    return Paths(
        _xdg("XDG_CONFIG_HOME", home / ".config"),
        Path(runtime) / "qsup",
        _xdg("XDG_STATE_HOME", home / ".local/state"),
    )


def usual_runtime() -> str:
    """The runtime directory of this user's daemon if nobody chooses another; the empty text if there is none."""
    try:
        return str(default_paths().runtime)
    except (UsageError, RuntimeError):
        return ""


def cache_of(daemon: Paths | None) -> Path | None:
    """Where what was found out about QEMU is kept: with the daemon's where that is possible, else by the user."""
    if daemon is not None and os.access(daemon.state, os.W_OK):
        return daemon.probe_cache
    try:
        return _xdg("XDG_CACHE_HOME", Path.home() / ".cache")
    except RuntimeError:
        return None


def _xdg(variable: str, fallback: Path) -> Path:
    value = os.environ.get(variable, "")
    return (Path(value) if value.startswith("/") else fallback) / "qsup"
