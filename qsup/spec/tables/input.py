"""Keyboard and pointer. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class Keyboard(StrEnum):
    """What is typed on."""

    PS2 = "ps2"
    USB = "usb"
    VIRTIO = "virtio"


class Pointer(StrEnum):
    """What is pointed with."""

    PS2 = "ps2"
    USB_TABLET = "usb-tablet"
    USB_MOUSE = "usb-mouse"
    VIRTIO_TABLET = "virtio-tablet"
    VIRTIO_MOUSE = "virtio-mouse"

    @property
    def is_usb(self) -> bool:
        """Whether it sits on the USB controller."""
        return self in {Pointer.USB_TABLET, Pointer.USB_MOUSE}


class Input(Section, frozen=True, kw_only=True):
    """Keyboard and pointer: what a viewer of the guest's screen types and points with."""

    keyboard: Annotated[
        Keyboard | None,
        about(
            "`ps2`, which all boards but a microvm have in any case; `usb`; `virtio`. Without it `ps2`; on a microvm with a display `virtio`.",
            qemu="-device usb-kbd|virtio-keyboard-pci",
        ),
    ] = None
    pointer: Annotated[
        Pointer | None,
        about(
            "The guest's pointer follows the viewer's with a tablet; a mouse, as `ps2` is one, has to be caught by the viewer. Without it, if there is a display: `usb-tablet`; on a microvm `virtio-tablet`; `ps2` where `machine.usb` is `none`.",
            qemu="-device usb-tablet|usb-mouse|virtio-tablet-pci|virtio-mouse-pci",
        ),
    ] = None
