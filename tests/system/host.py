"""A host of the tests: a container whose systemd has this checkout's own units, with KVM where that works."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.conftest import ROOT, kvm_problem
from tests.system.box import Box, box

BIN: Final = ROOT / ".venv/bin"
DEADLINE: Final = 30.0
CONFIG: Final = "/etc/qsup"
SOCKET: Final = "/run/qsup/control.sock"
IDLE: Final = """
[machine]
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[stop]
methods = []
"""
"""A machine that stands still: it has nothing to boot from, and nothing to ask for a stop."""


class Host:
    """A host with a daemon, whose configuration is ``directory`` of the real host."""

    def __init__(self, container: Box, directory: Path) -> None:
        self.box = container
        self.directory = directory
        self.accel = "tcg" if kvm_problem() else "kvm"

    def run(self, *words: str) -> str:
        """Run a command in it, which has to succeed; what it printed on both streams."""
        return self.box.run(*words)

    def qsup(self, *words: str, fails: bool = False) -> str:
        """Use the command."""
        return (self.box.fails if fails else self.box.run)(str(BIN / "qsup"), *words)

    def systemctl(self, *words: str, fails: bool = False) -> str:
        """Speak to systemd."""
        return (self.box.fails if fails else self.box.run)("systemctl", *words)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def journal(self, *matches: str) -> str:
        """What the journal has, messages alone."""
        self.box.run("journalctl", "--sync")
        return self.box.run("journalctl", "--no-pager", "--output=cat", *matches)

    def drop_in(self, unit: str, text: str) -> None:
        """Give a unit a drop-in; without text take it away again."""
        directory = f"/run/systemd/system/{unit}.d"
        if text:
            script = 'mkdir -p "$1" && printf %s "$2" >"$1/test.conf"'
            self.box.run("sh", "-c", script, "sh", directory, text)
        else:
            self.box.run("rm", "-r", directory)
        self.systemctl("daemon-reload")

    def write(self, name: str, text: str) -> None:
        """Write a guest's file, with the accelerator that there is."""
        (self.directory / "guests" / f"{name}.toml").write_text(text.replace("{accel}", self.accel))

    def guests(self, **texts: str) -> None:
        """Write guests' files and have them read."""
        for name, text in texts.items():
            self.write(name, text)
        self.qsup("reload")

    def clear(self) -> None:
        """End all guests and forget them, and have the daemon run."""
        self.systemctl("start", "qsupd.socket", "qsupd.service")
        if json.loads(self.qsup("list", "--json")):
            self.qsup("kill", "--all")
        for file in (self.directory / "guests").iterdir():
            file.unlink()
        self.qsup("reload")

    def status(self, name: str) -> Any:
        """The facts of a guest."""
        (facts,) = json.loads(self.qsup("status", "--json", name))
        return facts

    def main_pid(self, unit: str = "qsupd.service") -> int:
        """The pid of the daemon, or of another unit; 0 if there is none."""
        return int(self.show(unit, "MainPID"))

    def until(self, reached: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Look until something is so; each look asks a program, so nothing is gained by waiting in between."""
        until = time.monotonic() + deadline
        while not reached():
            assert time.monotonic() < until, self.journal("--unit=qsupd", "--lines=60")


@contextlib.contextmanager
def host(name: str, root: Path, *words: str | Path) -> Iterator[Host]:
    """A host for as long as the context lasts; skips, with the reason, where there can be none.

    A second one of the same ``root`` has its configuration, and with the same ``--upper`` is the first after a reboot.
    """
    directory = root / "etc"
    for folder in ("guests", "profiles"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    kvm = [] if kvm_problem() else ["--kvm"]
    binds = (*("--bind", ROOT), *("--bind", root), *("--bind", f"{directory}:{CONFIG}"))
    boxes = root / f"boxes-{len([*root.glob('boxes-*')])}"
    with box(name, boxes, *kvm, *binds, *words) as made:
        if "systemd/system/qsupd.service" not in made.run("find", "/usr/local/lib"):
            made.run("rm", "-rf", "/var/lib/qsup")
            made.run(str(BIN / "qsupd"), "--install")
            made.run("systemctl", "enable", "--now", "qsupd", "qsup-guests")
        yield Host(made, directory)
