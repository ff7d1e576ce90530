"""What a QEMU lists for people: ``-display help`` names those that it has, with the modules that are installed.

QMP's schema names what it was built for. Nothing that is printed there is believed further than one word a line.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
from typing import IO, TYPE_CHECKING, Final, cast

from qsup.errors import LaunchError
from qsup.probe.conversation import environment

if TYPE_CHECKING:
    from qsup.probe.conversation import Bounds

LIMIT: Final = 1 << 16
"""Bytes that are read; QEMU prints less than one thousand."""
PATIENCE: Final = 5.0
"""Seconds for one list."""
ALWAYS: Final = "none"
"""Stands in every such list; what is printed without it is something else."""
_WORD: Final = re.compile(rb"^[a-z][a-z0-9-]{0,31}$", re.MULTILINE)


def listed(binary: str, option: str, bounds: Bounds) -> frozenset[str]:
    """The words that ``OPTION help`` has on lines of their own; none if it cannot be asked.

    Raises LaunchError if nobody waits for the answer any more.
    """
    try:
        process = subprocess.Popen(
            [binary, option, "help"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/", env=environment(),
        )  # fmt: skip
    except OSError:
        return frozenset()
    try:
        with cast("IO[bytes]", process.stdout) as output:
            said = _read(output.fileno(), bounds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    words = frozenset(word.decode() for word in _WORD.findall(said))
    return words if ALWAYS in words else frozenset()


def _read(fd: int, bounds: Bounds) -> bytes:
    """What comes until the end, or until it is too much or too late."""
    said = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if bounds.stop is not None:
        poll.register(bounds.stop, select.POLLIN)
    while len(said) < LIMIT:
        ready = dict(poll.poll(bounds.left(PATIENCE) * 1000))
        if bounds.stop in ready:
            raise LaunchError("QEMU is asked what it can do, and nobody waits for the answer any more")
        if fd not in ready:
            return b""
        data = os.read(fd, LIMIT)
        if not data:
            return said
        said += data
    return b""
