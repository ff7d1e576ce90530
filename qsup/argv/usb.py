"""The USB controller, which is there when something sits on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_USB
from qsup.argv.quote import device
from qsup.errors import SpecError
from qsup.spec.screen import keyboard, pointer
from qsup.spec.tables.disk import CdromBus, DiskBus
from qsup.spec.tables.input import Keyboard
from qsup.spec.tables.serial import SerialType
from qsup.spec.tables.sound import SoundModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec

CONTROLLER: Final = "usb"
USUAL_PORTS: Final = 4
"""What an xhci of QEMU has by itself."""
MOST_PORTS: Final = 15
POINTER: Final = "pointer"
KEYBOARD: Final = "keyboard"
SOUND: Final = "sound"
SEED: Final = "cloud-init"
"""The id of the drive with the seed of cloud-init."""


def users(spec: GuestSpec) -> list[str]:
    """The ids of the devices that sit on the controller, in the order of its ports: what is new goes to the end."""
    return [
        *([POINTER] if (chosen := pointer(spec)) is not None and chosen.is_usb else []),
        *map(host_device, spec.usb),
        *map(redirected, spec.usb_redirect),
        *(f"disk-{name}" for name, disk in spec.disk.items() if disk.bus is DiskBus.USB),
        *(f"cdrom-{name}" for name, cdrom in spec.cdrom.items() if cdrom.bus is CdromBus.USB),
        *(f"serial-{name}" for name, serial in spec.serial.items() if serial.type is SerialType.USB),
        *([SEED] if spec.cloud_init is not None and spec.cloud_init.bus is CdromBus.USB else []),
        *([KEYBOARD] if keyboard(spec) is Keyboard.USB else []),
        *([SOUND] if spec.sound.model is SoundModel.USB else []),
    ]


def host_device(name: str) -> str:
    """The id of a device of the host."""
    return f"usb-{name}"


def redirected(name: str) -> str:
    """The id of a device that comes over the network."""
    return f"redir-{name}"


def needs_usb(spec: GuestSpec) -> bool:
    """Whether the guest has a USB controller."""
    return bool(users(spec))


def options(draft: Draft) -> Iterator[Option]:
    """An xhci, with as many ports as its devices need."""
    if not (count := len(users(draft.spec))):
        return
    if count > MOST_PORTS:
        raise SpecError(f"there are {count} USB devices; the controller has room for {MOST_PORTS}")
    ports = {"p2": count, "p3": count} if count > USUAL_PORTS else {}
    yield device({**draft.board.pci("qemu-xhci", SLOT_USB), "id": CONTROLLER, **ports})


def port(spec: GuestSpec, user: str) -> dict[str, object]:
    """The place of one of the users: left to choose, QEMU would put a hub between where ports run out."""
    return {"bus": f"{CONTROLLER}.0", "port": str(users(spec).index(user) + 1)}
