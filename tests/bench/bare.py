"""Bare QEMU: the same options, the least that starts it, and the same point of arrival: its vCPUs run."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from qsup import clock
from qsup.argv.build import build
from qsup.argv.invocation import QMP_FD, LaunchContext
from qsup.probe.prober import Prober
from qsup.spec.model import GuestSpec
from tests.bench.wire import Wire

ABOVE = 64
"""What it inherits is moved above all target numbers first, so that nothing is overwritten before its turn."""


PROBER = Prober(None, clock.boot_id())


def bare_start(spec: GuestSpec, binary: str) -> float:
    """Start QEMU without qsup and kill it; the seconds from nothing until its vCPUs run."""
    pid, took = _start(spec, binary)
    _kill(pid)
    return took


def bare_restart(spec: GuestSpec, binary: str) -> float:
    """Kill a running QEMU, wait for its end, start the next: the seconds that a script without a policy takes."""
    pid, _ = _start(spec, binary)
    began = time.perf_counter()
    _kill(pid)
    died = time.perf_counter() - began
    pid, took = _start(spec, binary)
    _kill(pid)
    return died + took


def _start(spec: GuestSpec, binary: str) -> tuple[int, float]:
    """A QEMU whose vCPUs run: its pid, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as home:
        context = LaunchContext(token="0" * 16, run_dir=home, state_dir=home)
        made = build(spec, PROBER.facts(binary), context)
        files = {listener.fd: Path(home) / listener.file for listener in made.listeners}
        began = time.perf_counter()
        opened = {fd: _listen(path) for fd, path in files.items()}
        opened |= {device.fd: os.open(device.path, os.O_RDWR | os.O_CLOEXEC) for device in made.devices}
        wire = Wire(files[QMP_FD])
        pid = _spawn(made.argv, opened)
        wire.negotiate()
        wire.send("cont")
        wire.event("RESUME")
        took = time.perf_counter() - began
        wire.close()
        return pid, took


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _listen(path: Path) -> int:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener.detach()


def _spawn(argv: list[str], opened: dict[int, int]) -> int:
    moved = {fd: os.dup2(ours, ABOVE + fd) for fd, ours in opened.items()}
    actions: list[Any] = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in moved.items()]
    actions += [(os.POSIX_SPAWN_CLOSE, source) for source in moved.values()]
    actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    pid = os.posix_spawn(argv[0], argv, {}, file_actions=actions)
    for ours in (*moved.values(), *opened.values()):
        os.close(ours)
    return pid
