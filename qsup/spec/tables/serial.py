"""Serial ports. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, Section, about, within
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator


class SerialType(StrEnum):
    """What the guest sees: a 16550 on the ISA bus, a virtio console, a 16550 on PCI, an FTDI adapter on USB."""

    ISA = "isa"
    VIRTIO = "virtio"
    PCI = "pci"
    USB = "usb"


class Serial(Section, frozen=True, kw_only=True):
    """A serial port: `[serial.ID]`. `qsup console` attaches to it, `qsup log` shows its rotated log."""

    type: Annotated[
        SerialType,
        about(
            "What the guest sees: `isa`, Linux's `ttyS0` to `ttyS3`; `virtio`, its `hvc0` and so on; `pci`, a `ttyS` beyond those; `usb`, its `ttyUSB0` and so on.",
            qemu="-device isa-serial|virtconsole|pci-serial|usb-serial",
        ),
    ] = SerialType.ISA
    log: Annotated[bool, about("Whether what the guest prints is kept.")] = True
    log_size: Annotated[
        Size, about("How large the log grows before it is rotated; one older file is kept.")
    ] = Size.parse("4 MiB")

    def wrong(self) -> Iterator[Finding]:
        """A log that would only rotate."""
        yield from within("log-size", self.log_size, "4 KiB", "1 TiB")
