"""The helpers of an invocation, started for a QEMU that a test starts by itself."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from qsup.argv.facts import HostFacts
from qsup.argv.helper import HELPER_FD, Helper
from qsup.argv.invocation import Invocation
from qsup.probe.programs import Programs
from qsup.spec.model import DaemonConfig, GuestSpec


def with_programs(facts: HostFacts, spec: GuestSpec) -> HostFacts:
    """The facts with this host's helper programs; skips if one is not installed."""
    found = Programs(DaemonConfig()).added(facts, spec)
    missing = [name for name, program in found.programs.items() if not program.found]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    return found


def with_shares(spec: GuestSpec) -> GuestSpec:
    """Make the directories that the guest shares."""
    for share in spec.share.values():
        Path(share.path).mkdir(parents=True, exist_ok=True)
    return spec


def started(invocation: Invocation, run_dir: Path, ours: ExitStack) -> dict[int, int]:
    """Start them as the daemon does; what QEMU is to inherit, by its number there. They end with QEMU."""
    fds = {}
    for helper in invocation.helpers:
        if helper.directory is not None:
            Path(helper.directory).mkdir(exist_ok=True)
        address = str(run_dir / helper.file)
        with ExitStack() as its:
            end = its.enter_context(socket.socket(socket.AF_UNIX))
            if helper.qemu_fd is None:
                end.connect(address)
            else:
                end.bind(address)
                end.listen(1)
                mine = ours.enter_context(socket.socket(socket.AF_UNIX))
                mine.connect(address)
                fds[helper.qemu_fd] = mine.fileno()
            _spawn(helper, end, run_dir)
    return fds


def _spawn(helper: Helper, end: socket.socket, run_dir: Path) -> None:
    with (run_dir / helper.log).open("wb") as log:
        actions = [
            (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            (os.POSIX_SPAWN_DUP2, end.fileno(), 100),
            (os.POSIX_SPAWN_DUP2, 100, HELPER_FD),
            (os.POSIX_SPAWN_CLOSE, 100),
        ]
        os.posix_spawn(helper.argv[0], helper.argv, dict(os.environ), file_actions=actions, setsid=True)
