"""The board and its accelerator. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE: Final = form(
    r"^[a-z][a-z0-9.-]{0,39}$(?!\n)",
    "a machine type is a small letter, then up to 39 small letters, digits, or any of . -",
)


class Accel(StrEnum):
    """The accelerator: ``auto`` takes KVM where it works and TCG where not."""

    KVM = "kvm"
    TCG = "tcg"
    AUTO = "auto"


class Firmware(StrEnum):
    """What starts the guest."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE_BOOT = "uefi-secure-boot"


class Iommu(StrEnum):
    """The guest's IOMMU."""

    NONE = "none"
    INTEL = "intel"
    VIRTIO = "virtio"


class UsbController(StrEnum):
    """What USB devices sit on."""

    XHCI = "xhci"
    EHCI = "ehci"
    UHCI = "uhci"
    NONE = "none"


class Machine(Section, frozen=True, kw_only=True):
    """The board."""

    type: Annotated[
        str,
        MACHINE,
        about(
            "The machine type, as `qemu-system-x86_64 -machine help` lists it: `q35`, `pc`, `microvm` or a versioned one.",
            qemu="-machine type=",
        ),
    ] = "q35"
    pin: Annotated[
        bool,
        about(
            "Whether the guest keeps the versioned type that `type` means at its first start (`q35`: `pc-q35-7.2`) "
            "when QEMU is upgraded. `false` forgets what was kept."
        ),
    ] = True
    accel: Annotated[
        Accel, about("`kvm`; `tcg`, which needs no hardware; or `auto`: KVM where it works.", qemu="-accel")
    ] = Accel.KVM
    firmware: Annotated[
        Firmware,
        about(
            "`bios`: the machine's own; `uefi`; `uefi-secure-boot`, which starts only what is signed (q35 only). "
            "UEFI is found by QEMU's firmware descriptors, and its variables are kept in the state directory.",
            qemu="-machine pflash0=,pflash1=,smm=",
        ),
    ] = Firmware.BIOS
    firmware_code: Annotated[
        HostPath | None,
        about("This firmware instead of the one that a descriptor names.", qemu="-machine pflash0=|-bios"),
    ] = None
    nvram_template: Annotated[
        HostPath | None,
        about(
            "What the variables of `firmware-code` are a copy of; without it they are forgotten.",
            qemu="-machine pflash1=",
        ),
    ] = None
    iommu: Annotated[
        Iommu,
        about(
            "The guest's IOMMU: `intel` (q35 only) or `virtio`. Devices that are passed through to guests of the guest need it.",
            qemu="-device intel-iommu|virtio-iommu-pci",
        ),
    ] = Iommu.NONE

    usb: Annotated[
        UsbController,
        about(
            "The USB controller, which is there when something sits on it: `xhci`; `ehci` and the slow `uhci`, for guests that know no newer one; `none`. The three have room for 15, 6 and 9 devices.",
            qemu="-device qemu-xhci|ich9-usb-ehci1|piix3-usb-uhci",
        ),
    ] = UsbController.XHCI

    def wrong(self) -> Iterator[Finding]:
        """What a kind of machine does not have."""
        is_q35 = self.type.startswith(("q35", "pc-q35"))
        if self.firmware is Firmware.UEFI_SECURE_BOOT and not is_q35:
            yield ("firmware",), f'"{self.firmware}" is for q35, and the type is "{self.type}"'
        if self.nvram_template is not None:
            if self.firmware is Firmware.BIOS:
                yield ("nvram-template",), 'is for firmware = "uefi"'
            elif self.firmware_code is None:
                yield ("nvram-template",), "needs firmware-code"
        if self.iommu is Iommu.INTEL and not is_q35:
            yield ("iommu",), f'"intel" is for q35, and the type is "{self.type}"; "virtio" is for pc as well'
        elif self.iommu is Iommu.VIRTIO and self.type.startswith("microvm"):
            yield ("iommu",), "a microvm has no IOMMU"
