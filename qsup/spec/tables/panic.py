"""The pvpanic device. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class PanicModel(StrEnum):
    """The bus that it sits on."""

    ISA = "isa"
    PCI = "pci"


class Panic(Section, frozen=True, kw_only=True):
    """The pvpanic device, through which a guest's kernel tells that it has panicked."""

    enabled: Annotated[
        bool,
        about(
            "Whether the guest has it. Linux has the driver; without the device a panic looks like a hang or a reset.",
            qemu="-device pvpanic",
        ),
    ] = False
    model: Annotated[
        PanicModel,
        about(
            "`isa`: all machine types have the bus, and all guests the driver; `pci`: for a guest that finds no ISA devices.",
            qemu="-device pvpanic|pvpanic-pci",
        ),
    ] = PanicModel.ISA
