"""Whether the kernel gives us KVM."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from qsup.argv.invocation import KVM

_GET_API_VERSION: Final = 0xAE00
API_VERSION: Final = 12
"""The only version there has been since Linux 2.6.22."""


def kvm_trouble() -> str | None:
    """Why KVM cannot be used, as a sentence; None if it can."""
    try:
        fd = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"{KVM} does not exist: the CPU's virtualisation is off in the firmware, or the kvm module is not loaded"
    except PermissionError:
        return f"{KVM} may not be opened; add the user to the group that owns it (usually kvm)"
    except OSError as error:
        return f"{KVM} cannot be opened: {error.strerror}"
    try:
        version = fcntl.ioctl(fd, _GET_API_VERSION)
    except OSError as error:
        return f"{KVM} does not answer: {error.strerror}"
    finally:
        os.close(fd)
    return None if version == API_VERSION else f"{KVM} speaks API version {version}, not {API_VERSION}"
