"""Opens the taps of an invocation as the daemon does, in the network that it finds itself in, and becomes QEMU."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from contextlib import ExitStack

import msgspec

from qsup.argv.invocation import Invocation, Tap
from qsup.proc.tap import open_tap


def words(invocation: Invocation) -> list[str]:
    """What to put before QEMU's words; nothing for one without taps."""
    taps = msgspec.json.encode(invocation.taps, enc_hook=str).decode()
    return [sys.executable, "-I", __file__, taps] if invocation.taps else []


def main() -> None:
    """Hand the taps over under the numbers that QEMU knows."""
    taps, command = msgspec.json.decode(sys.argv[1], type=tuple[Tap, ...]), sys.argv[2:]
    with ExitStack() as ours:
        opened = {fd: got for tap in taps for fd, got in asyncio.run(open_tap(tap, ours)).items()}
        high = {fd: fcntl.fcntl(got, fcntl.F_DUPFD_CLOEXEC, 100) for fd, got in opened.items()}
        ours.pop_all()
    for fd, got in high.items():
        os.dup2(got, fd)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
