"""Whether the host itself goes down, which ends every QEMU on it with an ordinary signal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from qsup.errors import LaunchError
from qsup.proc import tool

SYSTEMD: Final = Path("/run/systemd/system")
"""There if systemd runs the host (sd_booted(3))."""
NOLOGIN: Final = (Path("/run/nologin"), Path("/etc/nologin"))
"""There while nobody is let in any more, as shutdown(8) and systemd-user-sessions.service see to."""
FROM_INIT: Final = "from pid 1 ("
"""In QEMU's last words if it was the first process of the host that sent the signal."""
PATIENCE: Final = 1.0
"""Seconds that systemctl may take."""


async def ended_it(stderr: str) -> bool:
    """Whether a QEMU with these last words was ended because the host goes down."""
    return FROM_INIT in stderr and await goes_down()


def systemd_ended_it(stderr: str) -> bool:
    """Whether it was systemd that ended it, which does so with the host, or when its scope is to be stopped."""
    return FROM_INIT in stderr and SYSTEMD.is_dir()


async def goes_down() -> bool:
    """Whether the host is on its way down. systemd knows; elsewhere a file tells that nobody is let in any more."""
    systemctl = shutil.which("systemctl") if SYSTEMD.is_dir() else None
    if systemctl is not None:
        try:
            _, said = await tool.run([systemctl, "is-system-running"], PATIENCE)
        except LaunchError:
            said = ""
        if said:
            return said == "stopping"
    return any(path.exists() for path in NOLOGIN)
