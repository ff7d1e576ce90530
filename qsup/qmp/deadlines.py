"""How long QEMU may take to answer a command, in seconds."""

from __future__ import annotations

from typing import Final

DEFAULT: Final = 5.0
"""QEMU answers within milliseconds; its main loop may be held up by slow storage for a while."""

_TABLE: Final = {
    # These write or read all of the guest's memory, or any amount of it, with the main loop blocked.
    "dump-guest-memory": 600.0,
    "human-monitor-command": 60.0,
    "pmemsave": 60.0,
    "memsave": 60.0,
    # These open, flush or drain images, and storage may be slow.
    "blockdev-add": 30.0,
    "blockdev-del": 30.0,
    "blockdev-reopen": 30.0,
    "blockdev-snapshot": 30.0,
    "blockdev-snapshot-sync": 30.0,
    "block_resize": 30.0,
    "transaction": 30.0,
    "stop": 30.0,
    "cont": 30.0,
    # These are answered when the job stands, which needs the drained image; the job itself runs on.
    "blockdev-backup": 30.0,
    "blockdev-mirror": 30.0,
    "block-commit": 30.0,
    "block-stream": 30.0,
    "snapshot-save": 30.0,
    "snapshot-load": 30.0,
    "snapshot-delete": 30.0,
    # These connect to the other host's QEMU, or open the file that holds the guest's state.
    "migrate": 15.0,
    "migrate-incoming": 15.0,
    # These allocate memory, or have the host's kernel reset a device that is passed through.
    "object-add": 60.0,
    "device_add": 30.0,
    "system_reset": 15.0,
    # These tell the whole of what a QEMU can do.
    "query-qmp-schema": 15.0,
    "device-list-properties": 15.0,
    "qom-list-types": 15.0,
}


def deadline(command: str) -> float:
    """The deadline of a command."""
    return _TABLE.get(command, DEFAULT)
