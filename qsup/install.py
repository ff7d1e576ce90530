"""``qsupd --install``: what systemd needs to run a daemon that pip or pipx has installed.

Distributions' packages put it below ``/usr/lib``; here it goes below ``/usr/local/lib``, which systemd reads as well
and leaves to the administrator. Profiles go into the configuration, where they are the operator's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.errors import QsupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = Path("/usr/local/lib")
RUNS: Final = Path("/run/systemd/system")
"""Is there while systemd is the host's init, see sd_booted(3)."""
UNITS: Final = ("service", "socket", "target", "slice", "timer", "path")
NAMED: Final = {"sysusers": "sysusers.d/qsup.conf", "tmpfiles": "tmpfiles.d/qsup.conf"}
MAKE: Final = (("systemd-sysusers", "qsup.conf"), ("systemd-tmpfiles", "--create", "qsup.conf"))
READ: Final = (("journalctl", "--update-catalog"), ("systemctl", "daemon-reload"))
"""What has systemd make users and directories, and what has it read the rest."""
SPAWNER: Final = "qsup-spawn."
"""How the names of the spawner's units begin."""
PROGRAMS: Final = ("qsup", "qsupd", "qsup-spawn")
"""What the units execute."""
_PROGRAM: Final = re.compile(r"/usr/bin/(?=qsupd?\b)")


def install(config: Path) -> int:
    """Write the files and have systemd read them; return the exit status. Raises QsupError."""
    _needs_root()
    programs = Path(sys.argv[0]).absolute().parent
    for name in PROGRAMS:
        if not (programs / name).exists():
            raise UsageError(f"the units need {name} beside {sys.argv[0]}, and there is no {programs / name}")
    try:
        for path, text in _files(programs):
            _write(path, text)
        kept = [path.name for path in sorted(_source("profiles").iterdir()) if not _copied(path, config)]
    except OSError as error:
        raise QsupError(f"{error.filename} cannot be written: {error.strerror}") from error
    if kept:
        _say(f"left as they are in {config}/profiles: {', '.join(kept)}")
    _run_where_systemd_runs(*MAKE, *READ)
    _say("`systemctl enable --now qsupd qsup-guests` starts the daemon, now and at each boot,")
    _say("and has all guests stopped in order when the host goes down")
    return 0


def uninstall() -> int:
    """Take the files away again, but for the configuration; return the exit status. Raises QsupError."""
    _needs_root()
    gone = [path for path, _ in _files(Path("/usr/bin")) if path.exists()]
    units = [path.name for path in gone if path.parent.name == "system"]
    if units:
        _run_where_systemd_runs(("systemctl", "disable", *units))
    if spawner := [unit for unit in units if unit.startswith(SPAWNER)]:
        # Whoever has stopped the daemon may not know of this, and no guest ends by it.
        _run_where_systemd_runs(("systemctl", "stop", *spawner))
    for path in gone:
        path.unlink()
        _say(f"removed {path}")
    _run_where_systemd_runs(*READ)
    return 0


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise UsageError("only root can change what systemd runs for the whole host")


def _source(folder: str) -> Path:
    """What is installed beside this module, or lies in the checkout that it is run from."""
    own = Path(__file__).parent
    checkout = {"systemd": own.parent / "systemd", "profiles": own.parent / "configs/profiles"}
    return own / folder if (own / folder).is_dir() else checkout[folder]


def _files(programs: Path) -> Iterator[tuple[Path, str]]:
    """Every file below the prefix, and what stands in it where the programs are in this directory."""
    for source in (file for file in sorted(_source("systemd").rglob("*")) if file.is_file()):
        kind = source.suffix[1:]
        if kind in UNITS:
            whose = "user" if source.parent.name == "user" else "system"
            target = PREFIX / "systemd" / whose / source.name
        elif kind == "catalog":
            target = PREFIX / "systemd/catalog" / source.name
        elif kind in NAMED:
            target = PREFIX / NAMED[kind]
        else:
            continue
        yield target, _PROGRAM.sub(f"{programs}/", source.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    _say(f"wrote {path}")


def _copied(profile: Path, config: Path) -> bool:
    """Copy a profile; False if there is one of this name already."""
    target = config / "profiles" / profile.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return target.read_bytes() == profile.read_bytes()
    shutil.copyfile(profile, target)
    _say(f"wrote {target}")
    return True


def _run_where_systemd_runs(*commands: tuple[str, ...]) -> None:
    if not RUNS.is_dir():
        return  # It will read all this when it does.
    for program, *words in commands:
        found = shutil.which(program)
        if found is not None and subprocess.run([found, *words], check=False).returncode != 0:
            raise QsupError(f"`{' '.join((program, *words))}` failed; see above")


def _say(text: str) -> None:
    print(text)  # noqa: T201 - what a command of the operator's has done
