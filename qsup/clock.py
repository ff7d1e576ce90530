"""Time, passed in: decisions use the first clock, people read the second.

``now`` is CLOCK_BOOTTIME: it never jumps, goes on during suspend, and means the same to every process of one
boot, so a time written into a record by one daemon can be compared by the next, as long as the boot id agrees.
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path


def now() -> float:
    """Seconds since this boot of the host, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall() -> float:
    """Seconds since the epoch, for people only: nothing is decided by it."""
    return time.time()


def iso(wall_time: float) -> str:
    """A wall time as people and JSON read it: local time, offset included, to the millisecond."""
    return datetime.datetime.fromtimestamp(wall_time).astimezone().isoformat(timespec="milliseconds")


def boot_id() -> str:
    """The kernel's random identity of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
