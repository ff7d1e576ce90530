"""What this host's QEMU and kernel can do, as far as a launch depends on it."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from qsup.argv.invocation import HostFacts
from qsup.errors import LaunchError

KVM: Final = "/dev/kvm"
_GET_API_VERSION: Final = 0xAE00
API_VERSION: Final = 12
"""The only version there has been since Linux 2.6.22."""


def probe(binary: str) -> HostFacts:
    """The facts; raises LaunchError if the binary is not there or cannot be executed."""
    if not os.path.exists(binary):
        raise LaunchError(
            f"{binary} does not exist; install QEMU (Debian: qemu-system-x86, Fedora: qemu-system-x86-core), "
            "or name the binary: qemu-binary in qsup.toml, [qemu] binary in the guest's file"
        )
    if not os.path.isfile(binary) or not os.access(binary, os.X_OK):
        raise LaunchError(f"{binary} is not an executable file")
    return HostFacts(binary=binary, kvm=kvm_trouble() is None)


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
