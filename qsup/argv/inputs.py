"""Keyboard and pointer, where they are more than the board's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv import usb
from qsup.argv.board import BRIDGE_SLOTS_INPUT, Board
from qsup.argv.quote import device
from qsup.spec.screen import keyboard, pointer
from qsup.spec.tables.input import Keyboard, Pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec

KEYBOARD_SLOT: Final = BRIDGE_SLOTS_INPUT[0]
POINTER_SLOT: Final = BRIDGE_SLOTS_INPUT[1]


def options(draft: Draft) -> Iterator[Option]:
    """The keyboard, then the pointer."""
    match keyboard(draft.spec):
        case Keyboard.USB:
            yield device({"driver": "usb-kbd", **usb.port(draft.spec, usb.KEYBOARD), "id": usb.KEYBOARD})
        case Keyboard.VIRTIO:
            yield device({**_virtio(draft.board, "keyboard", KEYBOARD_SLOT), "id": usb.KEYBOARD})
        case Keyboard.PS2 | None:
            pass
    match kind := pointer(draft.spec):
        case Pointer.USB_TABLET | Pointer.USB_MOUSE:
            yield device({"driver": kind, **usb.port(draft.spec, usb.POINTER), "id": usb.POINTER})
        case Pointer.VIRTIO_TABLET | Pointer.VIRTIO_MOUSE:
            place = _virtio(draft.board, kind.removeprefix("virtio-"), POINTER_SLOT)
            yield device({**place, "id": usb.POINTER})
        case Pointer.PS2 | None:
            pass


def is_on_bridge(spec: GuestSpec) -> bool:
    """Whether one of them stands behind the PCI bridge."""
    return keyboard(spec) is Keyboard.VIRTIO or pointer(spec) in {
        Pointer.VIRTIO_TABLET,
        Pointer.VIRTIO_MOUSE,
    }


def _virtio(board: Board, kind: str, slot: int) -> dict[str, object]:
    if board is Board.MICROVM:
        return {"driver": f"virtio-{kind}-device"}
    return board.behind(f"virtio-{kind}-pci", slot)
