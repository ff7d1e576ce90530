"""The block device of the host on which a file lies."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from qsup.proc.kernel import read

DEVICES: Final = "/sys/dev/block"


def device_of(file: str) -> str:
    """The number (``8:0``) of the whole device below a file, or of a device itself.

    Raises OSError; with ENODEV if the file lies on no device, or on several, as with btrfs, overlays and NFS.
    """
    found = os.stat(file)
    number = found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev
    if not os.major(number):
        raise OSError(errno.ENODEV, "its file system does not lie on one block device", file)
    place = f"{DEVICES}/{os.major(number)}:{os.minor(number)}"
    if os.path.exists(f"{place}/partition"):
        # Only a whole disk has a queue, so only that can be limited.
        return read(f"{os.path.dirname(os.path.realpath(place))}/dev")
    return f"{os.major(number)}:{os.minor(number)}"
