"""The watchdog device. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class WatchdogModel(StrEnum):
    """The device that expects a sign of life."""

    NONE = "none"
    I6300ESB = "i6300esb"
    ITCO = "itco"
    IB700 = "ib700"


class WatchdogAction(StrEnum):
    """What QEMU does when the sign of life does not come."""

    RESET = "reset"
    SHUTDOWN = "shutdown"
    POWEROFF = "poweroff"
    INJECT_NMI = "inject-nmi"
    PAUSE = "pause"
    DEBUG = "debug"
    NONE = "none"


class Watchdog(Section, frozen=True, kw_only=True):
    """A watchdog device: once the guest has armed it, it acts when the guest gives no sign of life."""

    model: Annotated[
        WatchdogModel,
        about(
            "`i6300esb` on PCI; `itco`, that of the q35 board itself; `ib700` on ISA; `none`.",
            qemu="-device i6300esb",
        ),
    ] = WatchdogModel.NONE
    action: Annotated[
        WatchdogAction,
        about(
            "`reset`, which `[restart.on] guest-reset` may follow; `shutdown`: the power button; `poweroff`: QEMU is ended, and the guest stays off; `inject-nmi`, at which Linux can be told to panic; `pause`; `debug`: a line in QEMU's stderr; `none`.",
            qemu="-action watchdog=",
        ),
    ] = WatchdogAction.RESET
