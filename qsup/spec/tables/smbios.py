"""What the firmware's tables tell of the machine. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from qsup.spec.base import TEXT, Section, about, form

DATE: Final = form(
    r"^(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])/[0-9]{4}$(?!\n)", 'write month, day and year: "12/31/2026"'
)
RELEASE: Final = form(
    r"^(1?[0-9]{1,2}|2[0-4][0-9]|25[0-5])\.(1?[0-9]{1,2}|2[0-4][0-9]|25[0-5])$(?!\n)",
    'a release is two numbers up to 255: "1.2"',
)
Line = Annotated[str, TEXT, Meta(max_length=255)]


class Smbios(Section, frozen=True, kw_only=True):
    """What the firmware's tables (SMBIOS, DMI) tell of the machine; what is not set here is QEMU's own.

    Linux shows it below `/sys/class/dmi/id`, Windows as `Win32_ComputerSystem` and the like.
    """

    manufacturer: Annotated[Line | None, about("Who made it.", qemu="-smbios type=1,manufacturer=")] = None
    product: Annotated[Line | None, about("What it is.", qemu="-smbios type=1,product=")] = None
    version: Annotated[Line | None, about("Its version.", qemu="-smbios type=1,version=")] = None
    serial: Annotated[Line | None, about("Its serial number.", qemu="-smbios type=1,serial=")] = None
    sku: Annotated[Line | None, about("Its number in the catalogue.", qemu="-smbios type=1,sku=")] = None
    family: Annotated[Line | None, about("Its family.", qemu="-smbios type=1,family=")] = None
    bios_vendor: Annotated[Line | None, about("Who made the firmware.", qemu="-smbios type=0,vendor=")] = None
    bios_version: Annotated[Line | None, about("The firmware's version.", qemu="-smbios type=0,version=")] = (
        None
    )
    bios_date: Annotated[
        Annotated[str, DATE] | None, about("The firmware's date, `MM/DD/YYYY`.", qemu="-smbios type=0,date=")
    ] = None
    bios_release: Annotated[
        Annotated[str, RELEASE] | None,
        about("The firmware's release, `MAJOR.MINOR`.", qemu="-smbios type=0,release="),
    ] = None
    board_manufacturer: Annotated[
        Line | None, about("Who made the board.", qemu="-smbios type=2,manufacturer=")
    ] = None
    board_product: Annotated[Line | None, about("What board it is.", qemu="-smbios type=2,product=")] = None
    board_version: Annotated[Line | None, about("The board's version.", qemu="-smbios type=2,version=")] = (
        None
    )
    board_serial: Annotated[
        Line | None, about("The board's serial number.", qemu="-smbios type=2,serial=")
    ] = None
    board_asset: Annotated[Line | None, about("The board's asset tag.", qemu="-smbios type=2,asset=")] = None
    chassis_manufacturer: Annotated[
        Line | None, about("Who made the chassis.", qemu="-smbios type=3,manufacturer=")
    ] = None
    chassis_version: Annotated[
        Line | None, about("The chassis's version.", qemu="-smbios type=3,version=")
    ] = None
    chassis_serial: Annotated[
        Line | None, about("The chassis's serial number.", qemu="-smbios type=3,serial=")
    ] = None
    chassis_asset: Annotated[Line | None, about("The chassis's asset tag.", qemu="-smbios type=3,asset=")] = (
        None
    )
    oem_strings: Annotated[
        tuple[Line, ...],
        about(
            "Texts for a program in the guest that knows their meaning.",
            qemu="-smbios type=11,value=",
            max_length=64,
        ),
    ] = ()
