"""The USB controller, which is there when something sits on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_USB
from qsup.argv.quote import device
from qsup.errors import SpecError
from qsup.spec.screen import keyboard, pointer
from qsup.spec.tables.disk import CdromBus, DiskBus
from qsup.spec.tables.input import Keyboard
from qsup.spec.tables.machine import UsbController
from qsup.spec.tables.serial import SerialType
from qsup.spec.tables.sound import SoundModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec

CONTROLLER: Final = "usb"
HUB: Final = "hub"
USUAL_PORTS: Final = 4
"""What an xhci of QEMU has by itself."""
ROOM: Final = {UsbController.XHCI: 15, UsbController.EHCI: 6, UsbController.UHCI: 9, UsbController.NONE: 0}
"""How many devices each can have; a uhci has two ports, and a hub with eight at the second."""
COMPANIONS: Final = ("ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3")
"""Each serves two ports of an ehci for devices that are slower than that (QEMU: docs/config/ich9-ehci-uhci.cfg)."""
EHCI_FUNCTION: Final = 7
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
    """The controller, with as many ports as its devices need."""
    if not (count := len(users(draft.spec))):
        return
    kind = draft.spec.machine.usb
    if count > ROOM[kind]:
        raise SpecError(f"there are {count} USB devices; the controller has room for {ROOM[kind]}")
    match kind:
        case UsbController.XHCI:
            ports = {"p2": count, "p3": count} if count > USUAL_PORTS else {}
            yield device({**draft.board.pci("qemu-xhci", SLOT_USB), "id": CONTROLLER, **ports})
        case UsbController.EHCI:
            yield from _ehci(draft)
        case UsbController.UHCI:
            yield device({**draft.board.pci("piix3-usb-uhci", SLOT_USB), "id": CONTROLLER})
            if count > 1:
                yield device({"driver": "usb-hub", "bus": f"{CONTROLLER}.0", "port": "2", "id": HUB})
        case UsbController.NONE:
            pass


def port(spec: GuestSpec, user: str) -> dict[str, object]:
    """The place of one of the users: left to choose, QEMU would put a hub between where ports run out."""
    index = users(spec).index(user)
    behind_hub = spec.machine.usb is UsbController.UHCI and index > 0
    return {"bus": f"{CONTROLLER}.0", "port": f"2.{index}" if behind_hub else str(index + 1)}


def _ehci(draft: Draft) -> Iterator[Option]:
    yield device({**_function(draft, "ich9-usb-ehci1", EHCI_FUNCTION), "id": CONTROLLER})
    for number, driver in enumerate(COMPANIONS):
        place = {**_function(draft, driver, number), "id": f"{CONTROLLER}-{number + 1}"}
        yield device({**place, "masterbus": f"{CONTROLLER}.0", "firstport": 2 * number})


def _function(draft: Draft, driver: str, function: int) -> dict[str, object]:
    """A function of the controller's slot; the first one says that there are more."""
    place = draft.board.pci(driver, SLOT_USB)
    return {**place, "addr": f"{place['addr']}.{function}", "multifunction": True if function == 0 else None}
