"""How long QEMU may take to answer a command, in seconds."""

from __future__ import annotations

from typing import Final

DEFAULT: Final = 5.0
"""QEMU answers within milliseconds; its main loop may be held up by slow storage for a while."""

_TABLE: Final = {
    # These write or read all of the guest's memory, with the main loop blocked.
    "dump-guest-memory": 600.0,
    "human-monitor-command": 60.0,
    # These open, flush or drain images, and storage may be slow.
    "blockdev-add": 30.0,
    "blockdev-del": 30.0,
    "blockdev-snapshot": 30.0,
    "blockdev-snapshot-sync": 30.0,
    "block_resize": 30.0,
    "transaction": 30.0,
    "stop": 30.0,
    "cont": 30.0,
    "system_reset": 15.0,
    # These tell the whole of what a QEMU can do.
    "query-qmp-schema": 15.0,
    "device-list-properties": 15.0,
    "qom-list-types": 15.0,
}


def deadline(command: str) -> float:
    """The deadline of a command."""
    return _TABLE.get(command, DEFAULT)
