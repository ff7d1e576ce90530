"""What a QEMU lists for people: ``-display help`` names those that it has, with the modules that are installed.

QMP's schema names what it was built for. Nothing that is printed there is believed further than one word a line.
"""

from __future__ import annotations

import os
import re
import select
from signal import SIGKILL
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.probe.conversation import environment
from qsup.spawn.child import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    words = frozenset(word.decode() for word in _WORD.findall(printed([binary, option, "help"], bounds)))
    return words if ALWAYS in words else frozenset()


def printed(argv: Sequence[str], bounds: Bounds, *, errors: bool = False) -> bytes:
    """What a program prints, with its errors or without; nothing if that is too much, or comes too late.

    Raises LaunchError if nobody waits for the answer any more.
    """
    try:
        child, output = Child.printing(argv, environment(), {}, errors=errors)
    except LaunchError:
        return b""
    try:
        return _read(output, bounds)
    finally:
        os.close(output)
        # A program may have started others.
        child.signal(SIGKILL)
        child.end()


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
