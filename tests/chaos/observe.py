"""What can be seen of a daemon and its guests from outside: processes, open files, sockets, files."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LOCK = re.compile(r"/guests/([^/]+)/lock(?: \(deleted\))?$")
_TOKEN = b"socket,id=qsup-"


def qemus(pids: Iterable[int], state: Path) -> dict[str, list[int]]:
    """The QEMUs among processes, by the guest whose lock they have."""
    found: dict[str, list[int]] = {}
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/3")
            guest = LOCK.search(link)
            if guest and link.startswith(f"{state}/") and _TOKEN in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.setdefault(guest[1], []).append(pid)
    return found


def open_files(pid: int) -> Counter[str]:
    """What a process has open, by kind: ``pidfd``, ``socket``, ``pipe``, or the name of a file."""
    kinds: Counter[str] = Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            special = re.match(r"(?:anon_inode:)?\[?([a-z]+)", link)
            kinds[special[1] if special else link] += 1
    return kinds


def words(pid: int) -> str:
    """What a process was started as, for people."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return "gone"
