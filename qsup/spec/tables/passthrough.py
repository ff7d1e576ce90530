"""Devices of the host that a guest gets. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.address import ENDPOINT, Endpoint
from qsup.spec.base import Finding, HostPath, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

HEX4: Final = form(
    r"^[0-9a-f]{4}$(?!\n)", 'write four hexadecimal digits in lower case, as lsusb does: "0951"'
)
USB_PORT: Final = form(
    r"^[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,6}$(?!\n)",
    'write the numbers of the ports on the way to it, as in /sys/bus/usb/devices: "1.2"',
)
PCI_ADDRESS: Final = form(
    r"^([0-9a-f]{4}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$(?!\n)",
    'write the address in lower case, as lspci does: "0000:01:00.0"',
)
UUID: Final = form(
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)",
    "write a UUID in lower case, as in /sys/bus/mdev/devices",
)


class UsbDevice(Section, frozen=True, kw_only=True):
    """A USB device of the host: `[usb.ID]`. It is found by what it is, or by where it is plugged in.

    One that is not there as the guest starts is taken when it comes, unless it is named by its `address`.
    """

    vendor: Annotated[
        Annotated[str, HEX4] | None,
        about("The vendor's number, with `product`: `lsusb` shows both.", qemu="-device usb-host,vendorid="),
    ] = None
    product: Annotated[
        Annotated[str, HEX4] | None,
        about("The product's number.", qemu="-device usb-host,productid="),
    ] = None
    bus: Annotated[
        Annotated[int, Meta(ge=1, le=255)] | None,
        about("The bus, with `port` or `address`.", qemu="-device usb-host,hostbus="),
    ] = None
    port: Annotated[
        Annotated[str, USB_PORT] | None,
        about(
            "The port of the host, by way of hubs: what is plugged in there is the guest's.",
            qemu="-device usb-host,hostport=",
        ),
    ] = None
    address: Annotated[
        Annotated[int, Meta(ge=1, le=127)] | None,
        about(
            "The number that the device has on its bus until it is plugged in again.",
            qemu="-device usb-host,hostaddr=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Half of a name, or none."""
        place = [key for key in ("port", "address") if getattr(self, key) is not None]
        if self.vendor is None and self.product is None and self.bus is None and not place:
            yield (), "names no device: write `vendor` and `product`, or `bus` and `port`"
        if (self.vendor is None) is not (self.product is None):
            missing, there = ("vendor", "product") if self.vendor is None else ("product", "vendor")
            yield (missing,), f"is missing; `{there}` needs it"
        if self.bus is None and place:
            yield ("bus",), f"is missing; `{place[0]}` needs it"
        elif self.bus is not None and not place:
            yield ("bus",), "needs `port` or `address`"
        if len(place) > 1:
            yield ("address",), "cannot stand beside `port`; the port says enough"


class UsbRedirect(Section, frozen=True, kw_only=True):
    """A USB device that comes over the network: `[usb-redirect.ID]`."""

    address: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "Where a `usbredirect` or `usbredirserver` listens that has a device to give. Without it the viewer gives one, over SPICE.",
            qemu="-chardev socket -device usb-redir",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """An address that is none."""
        if self.address is not None and (trouble := Endpoint.of(self.address).trouble):
            yield ("address",), trouble


class PciDevice(Section, frozen=True, kw_only=True):
    """A PCI device of the host: `[pci.ID]`, given to the guest by VFIO."""

    host: Annotated[
        Annotated[str, PCI_ADDRESS] | None,
        about(
            "Its address. The host must have bound it to the driver `vfio-pci`, with all of its IOMMU group.",
            qemu="-device vfio-pci,host=",
        ),
    ] = None
    mdev: Annotated[
        Annotated[str, UUID] | None,
        about(
            "Instead of `host`: the UUID of a mediated device, a part of a device that its driver gives away.",
            qemu="-device vfio-pci,sysfsdev=",
        ),
    ] = None
    rom: Annotated[
        bool, about("Whether the guest sees the device's ROM.", qemu="-device vfio-pci,rombar=")
    ] = True
    rom_file: Annotated[
        HostPath | None,
        about("A file in the place of the device's own ROM.", qemu="-device vfio-pci,romfile="),
    ] = None
    primary: Annotated[
        bool,
        about(
            "For a graphics card: the guest's firmware starts on it, by the legacy VGA ranges. `[video]` should be `none` then.",
            qemu="-device vfio-pci,x-vga=",
        ),
    ] = False

    def wrong(self) -> Iterator[Finding]:
        """No device, or two; a ROM that nobody sees."""
        if self.host is None and self.mdev is None:
            yield (), "names no device: write `host` or `mdev`"
        elif self.host is not None and self.mdev is not None:
            yield ("mdev",), "cannot stand beside `host`: it is one device or the other"
        if self.rom_file is not None and not self.rom:
            yield ("rom-file",), "is for nothing with rom = false"
        if self.primary and self.mdev is not None:
            yield ("primary",), "a mediated device has no legacy VGA ranges"

    @property
    def full_address(self) -> str | None:
        """``host`` with its domain."""
        if self.host is None:
            return None
        return self.host if self.host.count(":") > 1 else f"0000:{self.host}"
