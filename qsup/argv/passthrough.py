"""Devices of the host, and USB devices from elsewhere, in the guest's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_ROOT_PORTS, Board, slot
from qsup.argv.invocation import Option
from qsup.argv.netdev import reconnect
from qsup.argv.quote import device, pairs, sourced
from qsup.argv.usb import host_device, port, redirected
from qsup.errors import SpecError
from qsup.spec.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.tables.passthrough import PciDevice, UsbDevice, UsbRedirect

FUNCTIONS: Final = range(8)
"""Of the one slot that they share: as many PCI devices can be passed through."""
MDEVS: Final = "/sys/bus/mdev/devices/"


def options(draft: Draft) -> Iterator[Option]:
    """Each family in the file's order."""
    for name, usb in draft.spec.usb.items():
        yield from sourced(("usb", name), _usb(draft, name, usb))
    for name, redirect in draft.spec.usb_redirect.items():
        yield from sourced(("usb-redirect", name), _redirect(draft, name, redirect))
    for index, (name, pci) in enumerate(draft.spec.pci.items()):
        yield from sourced(("pci", name), _pci(draft, index, name, pci))


def _usb(draft: Draft, name: str, usb: UsbDevice) -> Iterator[Option]:
    if usb == type(usb)():
        # QEMU would take any device of the host, one after the other.
        raise SpecError(f"usb.{name} names no device: it needs `vendor` and `product`, or `bus` and `port`")
    ident = host_device(name)
    yield device(
        {
            "driver": "usb-host",
            **port(draft.spec, ident),
            "id": ident,
            "vendorid": _number(name, "vendor", usb.vendor),
            "productid": _number(name, "product", usb.product),
            "hostbus": usb.bus,
            "hostport": usb.port,
            "hostaddr": usb.address,
        }
    )


def _number(name: str, key: str, digits: str | None) -> int | None:
    try:
        return None if digits is None else int(digits, 16)
    except ValueError:
        raise SpecError(f"usb.{name}.{key} is {digits!r}, which is no hexadecimal number") from None


def _redirect(draft: Draft, name: str, redirect: UsbRedirect) -> Iterator[Option]:
    ident = redirected(name)
    if redirect.address is None:
        yield Option("-chardev", pairs("spicevmc", id=ident, name="usbredir"))
    else:
        host, number = Endpoint.of(redirect.address)
        again = reconnect(draft.facts, "ChardevSocket")
        yield Option("-chardev", pairs("socket", id=ident, host=host, port=number, server=False, **again))
    yield device({"driver": "usb-redir", **port(draft.spec, ident), "id": ident, "chardev": ident})


def _pci(draft: Draft, index: int, name: str, pci: PciDevice) -> Iterator[Option]:
    if (pci.host is None) is (pci.mdev is None):
        raise SpecError(f"pci.{name} needs either `host` or `mdev`")
    at = _function(draft.board, slot("PCI devices of the host", FUNCTIONS, index))
    if draft.board is Board.Q35:
        # A PCI Express device belongs on a port of its own: on the root bus itself it would count as a part of the
        # chipset, and drivers look for a link that is not there.
        root = f"port-{name}"
        yield device({"driver": "pcie-root-port", **at, "id": root, "chassis": index + 1})
        at = {"bus": root, "addr": "0x0"}
    yield device(
        {
            "driver": "vfio-pci",
            **at,
            "id": f"pci-{name}",
            "host": pci.full_address,
            "sysfsdev": None if pci.mdev is None else MDEVS + pci.mdev,
            "rombar": None if pci.rom else 0,
            "romfile": pci.rom_file,
            "x-vga": pci.primary or None,
        }
    )


def _function(board: Board, function: int) -> dict[str, object]:
    """A function of the slot. Without the first of them, which says that there are more, no guest would see any."""
    place = board.pci("vfio-pci", SLOT_ROOT_PORTS)
    return {
        "bus": place["bus"],
        "addr": f"{place['addr']}.{function}",
        "multifunction": True if function == 0 else None,
    }
