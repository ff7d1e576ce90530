"""What somebody may be allowed to do, in the words of ``qsup.toml``."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """How much of the daemon's commands somebody may give; each includes those before it."""

    OBSERVE = "observe"
    """Look: states, events, logs, history, bundles of crashes."""
    OPERATE = "operate"
    """Start and stop guests, and all that goes with it."""
    ADMINISTER = "administer"
    """Hold drills; and, who may do so with all guests, what concerns the whole host."""

    def includes(self, other: Role) -> bool:
        """Whether who has this role has the other one, too."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Right(StrEnum):
    """What no role includes, for it leads past the daemon, into QEMU or into the guest."""

    RAW_QMP = "raw-qmp"
    """Give QMP commands to QEMU: whoever may do that can do what QEMU's user can."""
    CONSOLE = "console"
    """Type on serial ports."""
    AGENT_EXEC = "agent-exec"
    """Give commands to the guest agent, which mostly is the guest's root."""


Need = Role | Right
"""What a command takes."""
