"""Whether the kernel moves the packets of virtio cards for us."""

from __future__ import annotations

import os
from typing import Final

VHOST_NET: Final = "/dev/vhost-net"


def vhost_net() -> bool:
    """Whether QEMU, which is this user, can have it.

    The file may be there before its module is, which the kernel loads as the file is opened, or has not; QEMU 7.2
    aborts then. So it is opened.
    """
    try:
        os.close(os.open(VHOST_NET, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True
