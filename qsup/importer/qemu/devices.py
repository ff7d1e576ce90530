"""All other devices: sensors, channels to the host, shares, devices of the host, and what QEMU alone knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from qsup.importer.qemu.board import size
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.importer.qemu.command import Command, Part

PLUMBING: Final = re.compile(
    r"pcie-root-port|ioh3420|pci-bridge|pcie-pci-bridge|i82801b11-bridge|x3130-upstream|xio3130-downstream|pxb(-pcie)?"
    r"|virtio-serial(-pci|-device)?(-(non-)?transitional)?|virtio-scsi(-pci|-device)?(-(non-)?transitional)?"
    r"|ich9-ahci|ahci|usb-hub|lsi(53c895a)?|mptsas1068|megasas|piix3-ide|piix4-ide"
)
"""Controllers and bridges, which qsup makes as its devices need them."""
USB: Final = {
    "piix3-usb-uhci": "uhci",
    "piix4-usb-uhci": "uhci",
    "ich9-usb-uhci1": "uhci",
    "usb-ehci": "ehci",
    "ich9-usb-ehci1": "ehci",
    "qemu-xhci": "xhci",
    "nec-usb-xhci": "xhci",
    "pci-ohci": "uhci",
}
COMPANIONS: Final = ("ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3")
OWN_OBJECTS: Final = ("secret", "memory-backend-ram", "iothread", "thread-context")
"""Objects that stand for nothing when nothing refers to them."""


def convert(command: Command) -> None:
    """Every device that is left; those that qsup knows nothing of are kept for QEMU."""
    _usb_controllers(command)
    for part in command.devices:
        if part.used or PLUMBING.fullmatch(part.kind):
            part.used = True
            continue
        part.used = True
        command.at(part)
        known = KNOWN.get(part.kind)
        if known is None:
            command.keep(part)
            continue
        command.place(part)
        part.keys.drop("driver", "id", "port")
        known(command, part)
        command.tell_left(part)
    for part in command.named("virtfs"):
        command.at(part)
        _nine(command, part, part)
    for part in command.named("watchdog"):
        command.at(part)
        command.draft.set("watchdog", "model", to=part.option.value)
    if command.named("balloon"):
        command.draft.set("balloon", "enabled", to=True)


def leftovers(command: Command) -> None:
    """Options that no one has looked at, and backends that nothing refers to."""
    for part in list(command.others):
        if not part.used:
            part.used = True
            command.keep(part)
    for (kind, name), part in command.backends.items():
        if part.used or part.kind in OWN_OBJECTS or "monitor" in name or "qmp" in name:
            continue
        command.at(part)
        if kind in ("object", "fsdev") and part.kind not in ("tls-creds-x509", "throttle-group"):
            command.keep(part)
        elif kind != "audiodev":
            command.draft.differs(part.option.shown(), "nothing on the command line uses it")


def _usb_controllers(command: Command) -> None:
    controllers = [part for part in command.of(*USB, *COMPANIONS) if part.keys.peek("masterbus") is None]
    for part in command.named("usb"):
        command.at(part)
        command.draft.set("machine", "usb", to="uhci")
    if not controllers:
        return
    command.at(controllers[0])
    command.draft.set("machine", "usb", to=USB.get(controllers[0].kind, "uhci"))
    if len(controllers) > 1:
        command.draft.differs("more than one USB controller", "all USB devices hang on one")


def _rng(command: Command, part: Part) -> None:
    draft, keys = command.draft, part.keys
    source = command.use("object", keys.take("rng"))
    kind = source.kind if source is not None else "rng-builtin"
    if kind == "rng-egd" or draft.get("rng", "enabled"):
        if source is not None and not draft.get("rng", "enabled"):
            command.lost(part, "the guest's random numbers come from a device of the host")
        elif source is not None:
            source.used = False
            command.keep(part)
        keys.drop(*keys.all())
        return
    draft.set("rng", "enabled", to=True)
    draft.set("rng", "source", to=source.keys.peek("filename") if source is not None else None)
    most, period = size(keys.take("max-bytes"), "b"), keys.number("period")
    if most is not None and most < 1 << 62:
        draft.set("rng", "rate", to=str(Size(max(most * 1000 // (period or 65536), 1))))


def _balloon(command: Command, part: Part) -> None:
    keys = part.keys
    command.draft.set("balloon", "enabled", to=True)
    for key in ("free-page-reporting", "deflate-on-oom"):
        command.draft.set("balloon", key, to=keys.switch(key) or False)


def _watchdog(command: Command, part: Part) -> None:
    command.draft.set("watchdog", "model", to=part.kind)


def _panic(command: Command, part: Part) -> None:
    command.draft.set("panic", "enabled", to=True)
    if part.kind == "pvpanic-pci":
        command.draft.set("panic", "model", to="pci")
    part.keys.drop("ioport")


def _vsock(command: Command, part: Part) -> None:
    part.keys.drop("vhostfd")
    command.draft.set("vsock", "enabled", to=True)
    command.draft.set("vsock", "cid", to=part.keys.number("guest-cid"))


def _tpm(command: Command, part: Part) -> None:
    backend = command.use("tpmdev", part.keys.take("tpmdev"))
    if backend is None or backend.keys.peek("type") != "emulator":
        command.lost(part, "the TPM is an emulated one, by swtpm")
        return
    command.use("chardev", backend.keys.peek("chardev"))
    command.draft.set("tpm", "enabled", to=True)
    command.draft.set("tpm", "model", to="crb" if part.kind == "tpm-crb" else "tis")
    command.draft.differs(
        "the TPM's state",
        "qsup runs swtpm itself, with the state in the guest's state directory; copy it there",
    )


def _nine(command: Command, part: Part, backend: Part | None) -> None:
    """A 9p share; its backend is an option of its own, or the same one."""
    keys = backend.keys if backend is not None else part.keys
    tag = part.keys.take("mount_tag") or "share"
    path, kind = keys.take("path"), keys.take("fsdriver")
    if path is None or kind not in ("local", None):
        command.lost(part, "a share is a directory of the host")
        part.keys.drop(*part.keys.all())
        return
    entry = {
        "type": "9p",
        "path": path,
        "tag": tag,
        "read-only": True if keys.switch("readonly") else None,
        "security": {"mapped": "mapped-xattr"}.get(
            said := keys.take("security_model", "security-model") or "", said
        ),
    }
    keys.drop("id")
    command.draft.add("share", tag.rstrip("/").rpartition("/")[2], entry)
    if backend is not None and backend is not part:
        command.tell_left(backend)


def _nine_device(command: Command, part: Part) -> None:
    _nine(command, part, command.use("fsdev", part.keys.take("fsdev")))


def _virtiofs(command: Command, part: Part) -> None:
    command.use("chardev", part.keys.take("chardev"))
    tag = part.keys.take("tag") or "share"
    part.keys.drop("queue-size")
    command.draft.lost(
        f"the share {tag}",
        "its directory is in virtiofsd's command line; add [share.ID] with it, type and tag",
    )


def _vfio(command: Command, part: Part) -> None:
    keys = part.keys
    host, device = keys.take("host"), keys.take("sysfsdev")
    keys.drop("display" if keys.peek("display") == "off" else "id")
    number = len(command.draft.get("pci") or ())
    entry: dict[str, Any] = {
        "host": host if host is None or host.count(":") == 2 else f"0000:{host}",
        "mdev": device.rpartition("/")[2] if device is not None else None,
        "rom": False if keys.take("rombar") == "0" else None,
        "rom-file": keys.take("romfile"),
        "primary": keys.switch("x-vga") or None,
    }
    command.draft.add("pci", f"host{number}", entry)
    if keys.take("bootindex"):
        command.draft.lost("bootindex=", "the boot order names disks, CD-ROMs and NICs")


def _usb_host(command: Command, part: Part) -> None:
    keys = part.keys
    node = re.fullmatch(r"/dev/bus/usb/(\d{1,3})/(\d{1,3})", keys.take("hostdevice") or "")
    vendor, product = keys.take("vendorid"), keys.take("productid")
    entry: dict[str, Any] = {
        "vendor": vendor.removeprefix("0x") if vendor else None,
        "product": product.removeprefix("0x") if product else None,
        "bus": int(node[1]) if node else keys.number("hostbus"),
        "port": keys.take("hostport"),
        "address": int(node[2]) if node else keys.number("hostaddr"),
    }
    command.draft.add("usb", f"host{len(command.draft.get('usb') or ())}", entry)
    if keys.take("bootindex"):
        command.draft.lost("bootindex=", "the boot order names disks, CD-ROMs and NICs")


def _usb_redirect(command: Command, part: Part) -> None:
    chardev = command.use("chardev", part.keys.take("chardev"))
    kind = chardev.keys.peek("backend") if chardev is not None else None
    entry: dict[str, Any] = {}
    if chardev is not None and kind == "socket" and chardev.keys.peek("host"):
        entry["address"] = f"{chardev.keys.peek('host')}:{chardev.keys.peek('port')}"
    elif kind != "spicevmc":
        command.lost(part, "USB redirection comes over SPICE, or from a TCP server")
        return
    number = len(command.draft.get("usb-redirect") or ())
    command.draft.add("usb-redirect", f"redirect{number}", entry)


def _iommu(command: Command, part: Part) -> None:
    command.draft.set("machine", "iommu", to="intel" if part.kind == "intel-iommu" else "virtio")


KNOWN: Final[dict[str, Callable[[Command, Part], None]]] = {
    **dict.fromkeys(("virtio-rng", "virtio-rng-pci", "virtio-rng-device", "virtio-rng-pci-transitional",
                     "virtio-rng-pci-non-transitional"), _rng),
    **dict.fromkeys(("virtio-balloon", "virtio-balloon-pci", "virtio-balloon-pci-transitional",
                     "virtio-balloon-pci-non-transitional"), _balloon),
    **dict.fromkeys(("i6300esb", "ib700"), _watchdog),
    **dict.fromkeys(("pvpanic", "pvpanic-pci"), _panic),
    **dict.fromkeys(("vhost-vsock-pci", "vhost-vsock-device", "vhost-vsock-pci-transitional",
                     "vhost-vsock-pci-non-transitional"), _vsock),
    **dict.fromkeys(("tpm-tis", "tpm-crb"), _tpm),
    **dict.fromkeys(("virtio-9p-pci", "virtio-9p-device", "virtio-9p-pci-transitional",
                     "virtio-9p-pci-non-transitional"), _nine_device),
    **dict.fromkeys(("vhost-user-fs-pci", "vhost-user-fs-device"), _virtiofs),
    **dict.fromkeys(("vfio-pci", "vfio-pci-nohotplug"), _vfio),
    "usb-host": _usb_host,
    "usb-redir": _usb_redirect,
    **dict.fromkeys(("intel-iommu", "virtio-iommu", "virtio-iommu-pci"), _iommu),
}  # fmt: skip
