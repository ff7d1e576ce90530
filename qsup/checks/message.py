"""What a guest's systemd tells its host: the fields of sd_notify(3), and those that systemd(1) adds in a guest. Pure.

A boot is a row of messages: ``X_SYSTEMD_UNIT_ACTIVE=`` for each target, then ``READY=1`` once all jobs are through.
It says ``READY=1`` as well when it has ended up in the emergency shell, so that alone does not make a guest ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsup.qmp.session import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUE_LIMIT: Final = 200
"""Characters of a value; they are the guest's to choose."""
FIELDS: Final = frozenset(
    {
        "READY",
        "STOPPING",
        "STATUS",
        "ERRNO",
        "EXIT_STATUS",
        "X_SYSTEMD_HOSTNAME",
        "X_SYSTEMD_MACHINE_ID",
        "X_SYSTEMD_REBOOT_PARAMETER",
        "X_SYSTEMD_SHUTDOWN",
        "X_SYSTEMD_UNIT_ACTIVE",
        "X_SYSTEMD_UNIT_INACTIVE",
    }
)
"""All others are left out."""
EMERGENCY: Final = frozenset({"emergency.target", "rescue.target"})


def parse(data: bytes) -> dict[str, str]:
    """The fields of a message that are known here, each value short and harmless on a terminal."""
    lines = (line.partition("=") for line in data.decode("utf-8", errors="replace").split("\n"))
    return {
        key: printable(value[:VALUE_LIMIT].strip()) for key, sign, value in lines if sign and key in FIELDS
    }


class Boot(msgspec.Struct, frozen=True):
    """How far a guest's systemd has come, as it tells."""

    said_ready: bool = False
    trouble: str | None = None
    """The target that stands for one, as long as it is active."""
    status: str = ""
    """What it says of itself, for people."""

    @property
    def ready(self) -> bool:
        """Whether it is through with its boot, and has not ended up in a shell for repairs."""
        return self.said_ready and self.trouble is None

    def after(self, message: Mapping[str, str]) -> Boot:
        """How far it has come with this message."""
        trouble = self.trouble
        if message.get("X_SYSTEMD_UNIT_ACTIVE") in EMERGENCY:
            trouble = message["X_SYSTEMD_UNIT_ACTIVE"]
        elif trouble is not None and message.get("X_SYSTEMD_UNIT_INACTIVE") == trouble:
            trouble = None
        said_ready = self.said_ready or message.get("READY") == "1"
        return Boot(said_ready, trouble, message.get("STATUS", self.status))


def leaving(message: Mapping[str, str]) -> bool:
    """Whether a guest says with this message that it goes down or reboots."""
    return message.get("STOPPING") == "1" or "X_SYSTEMD_SHUTDOWN" in message
