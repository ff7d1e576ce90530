"""supervisord keeping a bare QEMU up: from its death until its successor runs, beside qsup's figure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from qsup import clock
from qsup.argv.build import build
from qsup.argv.invocation import LaunchContext
from qsup.probe.prober import Prober
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from tests.bench.pairs import compare
from tests.bench.place import GUEST, MACHINES, place
from tests.bench.restart import death_to_running
from tests.bench.wire import Wire

CONFIG = """
[supervisord]
nodaemon=true
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={home}
[program:bench]
command=/bin/sh -c 'echo $$ > {home}/pid; exec "$@"' qemu {command}
autorestart=true
startsecs=0
"""
LOOK = 0.001
"""Seconds between two looks whether the socket of the next QEMU is there, which nobody announces."""
PATIENCE = 30.0


async def measure(root: Path, binary: str, pairs: int) -> None:
    """The q35 under TCG stands for all: what takes the time is supervisord."""
    if shutil.which("supervisord") is None:
        print("supervisord: not measured: it is not installed")
        return
    async with place(root, binary, {"bench": GUEST.format(*MACHINES["q35, TCG"])}) as (here, wire):
        spec = load(here.config).guests["bench"]
        await asyncio.to_thread(_compare, wire, spec, binary, pairs)


def _compare(wire: Wire, spec: GuestSpec, binary: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        with _supervisord(home, _command(home, spec, binary)):
            _arrival(home)
            compare(
                "death to running (q35, TCG)", "qsup", "supervisord",
                lambda: death_to_running(wire), lambda: _theirs(home), pairs,
            )  # fmt: skip


def _command(home: Path, spec: GuestSpec, binary: str) -> str:
    """The same QEMU with a QMP socket of its own and without -S: it runs as soon as it can."""
    argv = build(
        spec, Prober(None, clock.boot_id()).facts(binary), LaunchContext("0" * 16, str(home), str(home))
    ).argv
    words = [word.replace(",fd=4", f",path={home}/qmp.sock") for word in argv if word != "-S"]
    return " ".join(f"'{word}'" for word in words).replace("%", "%%")


@contextlib.contextmanager
def _supervisord(home: Path, command: str) -> Iterator[None]:
    config = home / "supervisord.conf"
    config.write_text(CONFIG.format(home=home, command=command))
    daemon = subprocess.Popen(
        ["supervisord", "-n", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _theirs(home: Path) -> float:
    pid = int((home / "pid").read_text())
    (home / "qmp.sock").unlink()
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    return _arrival(home) - began


def _arrival(home: Path) -> float:
    """Wait for a QEMU on the socket, whose vCPUs run by then; when it answered. It is left paused, so quiet."""
    wire = _connected(home / "qmp.sock")
    wire.negotiate()
    at = time.perf_counter()
    wire.execute("stop")
    wire.close()
    return at


def _connected(path: Path) -> Wire:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return Wire(path)
        except OSError:
            assert time.monotonic() < until, "supervisord started no QEMU"
            time.sleep(LOOK)
