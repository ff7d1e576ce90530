"""The end of a log, in lines. Pure."""

from __future__ import annotations


def last_lines(log: bytes, count: int) -> bytes:
    """The last ``count`` lines of a log, with their ends; an unfinished last line counts as one."""
    if count == 0:
        return b""
    # Only newlines end lines here: a guest's console is full of carriage returns that do not.
    start = len(log) - 1 if log.endswith(b"\n") else len(log)
    for _ in range(count):
        start = log.rfind(b"\n", 0, start)
        if start < 0:
            return log
    return log[start + 1 :]
