"""All other devices: channels to the host, sensors, shares, and devices of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.backends import words
from qsup.importer.libvirt.nics import pci_address
from qsup.importer.libvirt.words import Reader, at, exact, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

WATCHDOGS: Final = {"i6300esb": "i6300esb", "itco": "itco", "ib700": "ib700"}
ACTIONS: Final = {word: word for word in ("reset", "shutdown", "poweroff", "pause", "none", "inject-nmi")}
SECURITY: Final = {"passthrough": "passthrough", "mapped": "mapped-xattr", "squash": "none"}
USB: Final = {
    "none": "none",
    "piix3-uhci": "uhci",
    "piix4-uhci": "uhci",
    "ich9-uhci1": "uhci",
    "vt82c686b-uhci": "uhci",
    "ehci": "ehci",
    "ich9-ehci1": "ehci",
    "qemu-xhci": "xhci",
    "nec-xhci": "xhci",
}


def convert(draft: Draft, devices: Element) -> None:
    """Everything that is no disk, card, port or screen."""
    _controllers(draft, devices)
    _balloon(draft, devices)
    for name, convert_one in _SINGLE.items():
        for index, element in enumerate(devices.children(name)):
            draft.here = at(element)
            if index and name == "rng":
                _another_rng(draft, element, index)
            elif index and name not in _MANY:
                Reader(draft, element).lost(element, f"a guest has one {name}")
            else:
                convert_one(draft, element)


def _controllers(draft: Draft, devices: Element) -> None:
    usb: list[str] = []
    for one in devices.children("controller"):
        draft.here = at(one)
        kind, model = one.get("type"), one.get("model")
        one.get("index")
        if kind == "usb":
            if one.child("master") is None:
                usb.append(model or "piix3-uhci")
            # Ports are as many as the devices need.
            one.settle()
        elif kind in ("pci", "virtio-serial", "ide", "sata", "fdc", "scsi"):
            if kind != "scsi":
                one.settle()
            one.get("ports")
            one.get("vectors")
            one.get("iothread")
            if kind == "scsi" and (driver := one.child("driver")) is not None:
                driver.get("name")
        else:
            Reader(draft, one).lost(one, "qsup has no such controller")
    if usb:
        draft.set("machine", "usb", to=USB.get(usb[0]))
        if len(usb) > 1:
            draft.differs("more than one USB controller", "all USB devices hang on one")


def _balloon(draft: Draft, devices: Element) -> None:
    balloon = devices.child("memballoon")
    if balloon is None:
        draft.here = at(devices)
        draft.set("balloon", "enabled", to=True)
        return
    draft.here = at(balloon)
    if balloon.get("model") == "none":
        return
    draft.set("balloon", "enabled", to=True)
    for attribute, key in (("autodeflate", "deflate-on-oom"), ("freePageReporting", "free-page-reporting")):
        draft.set("balloon", key, to=switch(balloon, attribute) or False)
    if (stats := balloon.child("stats")) is not None:
        stats.settle()


def _rng(draft: Draft, rng: Element) -> None:
    reader = Reader(draft, rng)
    backend, rate = rng.child("backend"), rng.child("rate")
    kind = backend.get("model") if backend is not None else "random"
    if kind == "egd":
        reader.lost(rng, "the guest's random numbers come from a device of the host")
        return
    draft.set("rng", "enabled", to=True)
    if kind == "builtin":
        draft.differs("<backend model='builtin'>", "it reads /dev/urandom, as QEMU does there")
    elif backend is not None and backend.text:
        draft.set("rng", "source", to=backend.text)
    rng.get("model")
    if rate is not None:
        count, period = number(rate.get("bytes")), number(rate.get("period")) or 1000
        if count:
            draft.set("rng", "rate", to=exact(max(count * 1000 // period, 1)))


def _another_rng(draft: Draft, rng: Element, index: int) -> None:
    backend = rng.child("backend")
    if backend is None or backend.get("model") != "random" or rng.child("rate") is not None:
        Reader(draft, rng).lost(rng, "a guest has one source of random numbers")
        return
    rng.settle()
    name = f"rng-{index}"
    source = words({"qom-type": "rng-random", "id": name, "filename": backend.text or "/dev/urandom"})
    draft.pass_on(rng.shown(), ["-object", source, "-device", f"virtio-rng-pci,rng={name}"])


def _watchdog(draft: Draft, watchdog: Element) -> None:
    reader = Reader(draft, watchdog)
    model = reader.pick(watchdog, "model", WATCHDOGS)
    action = reader.pick(watchdog, "action", ACTIONS, "reset")
    if model is not None:
        draft.set("watchdog", "model", to=model)
        draft.set("watchdog", "action", to=action)


def _panic(draft: Draft, panic: Element) -> None:
    model = panic.get("model")
    if model == "hyperv":
        draft.set("hyperv", "crash", to=True)
        return
    if model not in (None, "isa", "pvpanic"):
        Reader(draft, panic).lost(panic, "a PC has no such device")
        return
    draft.set("panic", "enabled", to=True)
    if model == "pvpanic":
        draft.set("panic", "model", to="pci")


def _tpm(draft: Draft, tpm: Element) -> None:
    reader = Reader(draft, tpm)
    backend = tpm.child("backend")
    kind = backend.get("type") if backend is not None else None
    model = reader.pick(tpm, "model", {"tpm-crb": "crb", "tpm-tis": "tis"}, "tis")
    if backend is None or kind != "emulator":
        reader.lost(tpm, "the TPM is an emulated one, by swtpm")
        return
    if backend.get("version") == "1.2":
        draft.lost(backend.shown(), "the TPM is a TPM 2.0")
    draft.set("tpm", "enabled", to=True)
    draft.set("tpm", "model", to=model)
    for attribute in ("persistent_state", "debug"):
        backend.get(attribute)
    draft.differs(
        "the TPM's state",
        "it is kept in the guest's state directory; a guest that has sealed something in it needs it copied",
    )
    if (banks := backend.child("active_pcr_banks")) is not None:
        banks.settle()
    if (source := backend.child("source")) is not None:
        source.settle()


def _share(draft: Draft, share: Element) -> None:
    reader = Reader(draft, share)
    source, target, driver = (share.child(name) for name in ("source", "target", "driver"))
    kind = driver.get("type") if driver is not None else None
    path = (source.get("dir") or source.get("name")) if source is not None else None
    tag = (target.get("dir") if target is not None else None) or ""
    if share.get("type") not in (None, "mount") or path is None or kind in ("mtp", "loop", "nbd"):
        reader.lost(share, "a share is a directory of the host")
        return
    entry: dict[str, object] = {"type": "virtiofs" if kind == "virtiofs" else "9p", "path": path, "tag": tag}
    entry["read-only"] = True if share.child("readonly") is not None else None
    if kind == "virtiofs":
        _virtiofs(draft, share, driver, entry)
    else:
        mode = reader.pick(share, "accessmode", SECURITY, "passthrough")
        entry["security"] = mode
        for attribute in ("fmode", "dmode", "multidevs"):
            if (value := share.get(attribute)) not in (None, "default"):
                draft.lost(f"{attribute}='{value}'", "QEMU's default holds")
    draft.add("share", tag.rstrip("/").rpartition("/")[2] or "share", entry)


def _virtiofs(draft: Draft, share: Element, driver: Element | None, entry: dict[str, object]) -> None:
    binary = share.child("binary")
    share.get("accessmode")
    if driver is not None:
        driver.get("queue")
    if binary is None:
        return
    cache = binary.child("cache")
    mode = cache.get("mode") if cache is not None else None
    entry["cache"] = {"none": "never", "always": "always", "auto": "auto"}.get(mode or "")
    for name in ("lock", "sandbox", "thread_pool", "openfiles"):
        if (element := binary.child(name)) is not None:
            draft.differs(element.shown(), "virtiofsd's own default holds")
            element.settle()
    if binary.get("path"):
        draft.differs(binary.shown(), "the virtiofsd is the host's")
    if switch(binary, "xattr") is False:
        draft.differs(binary.shown(), "extended attributes are passed on")


def _vsock(draft: Draft, vsock: Element) -> None:
    vsock.get("model")
    cid = vsock.child("cid")
    draft.set("vsock", "enabled", to=True)
    if cid is not None:
        automatic = switch(cid, "auto")
        address = number(cid.get("address"))
        draft.set("vsock", "cid", to=None if automatic else address)


def _iommu(draft: Draft, iommu: Element) -> None:
    reader = Reader(draft, iommu)
    model = reader.pick(iommu, "model", {"intel": "intel", "virtio": "virtio"})
    draft.set("machine", "iommu", to=model)


def _host_device(draft: Draft, device: Element) -> None:
    reader = Reader(draft, device)
    kind, source = device.get("type"), device.child("source")
    device.get("mode")
    address = source.child("address") if source is not None else None
    name = f"host{len(draft.get('usb') or ()) + len(draft.get('pci') or ())}"
    if kind == "usb" and source is not None:
        _usb(draft, device, source, address, name)
    elif kind == "pci" and pci_address(address) is not None:
        rom = device.child("rom")
        bar = switch(rom, "bar") if rom is not None else None
        entry = {
            "host": pci_address(address),
            "rom": False if bar is False or (rom is not None and switch(rom, "enabled") is False) else None,
            "rom-file": rom.get("file") if rom is not None else None,
        }
        _boot(draft, device, draft.add("pci", name, entry))
    elif kind == "mdev" and address is not None:
        model = device.get("model")
        if model not in (None, "vfio-pci"):
            reader.lost(device, "a PC has VFIO devices on the PCI bus only")
            return
        device.get("ramfb")
        if device.get("display") == "on":
            draft.lost(device.shown(), "what the device shows is not shown on the display")
        _boot(draft, device, draft.add("pci", name, {"mdev": address.get("uuid")}))
    else:
        reader.lost(device, f"of the host's devices qsup passes on USB and PCI ones, not {kind}")


def _boot(draft: Draft, device: Element, name: str) -> None:
    boot = device.child("boot")
    if boot is not None:
        draft.lost(f"boot from {name}", "the boot order names disks, CD-ROMs and NICs")
        boot.settle()


def _usb(draft: Draft, device: Element, source: Element, address: Element | None, name: str) -> None:
    vendor, product = source.child("vendor"), source.child("product")
    entry: dict[str, object] = {}
    if vendor is not None and product is not None:
        entry["vendor"] = (vendor.get("id") or "").removeprefix("0x")
        entry["product"] = (product.get("id") or "").removeprefix("0x")
    elif address is not None:
        entry["bus"] = number(address.get("bus"))
        entry["address"] = number(address.get("device"))
        if address.get("port"):
            entry["port"] = address.get("port")
    source.get("guestReset")
    _boot(draft, device, draft.add("usb", name, entry))


def _redirect(draft: Draft, device: Element) -> None:
    reader = Reader(draft, device)
    kind, source = device.get("type"), device.child("source")
    entry: dict[str, object] = {}
    device.get("bus")
    if (protocol := device.child("protocol")) is not None:
        protocol.settle()
    if kind == "tcp" and source is not None and source.get("mode") in (None, "connect"):
        entry["address"] = f"{source.get('host')}:{source.get('service')}"
    elif kind != "spicevmc":
        reader.lost(device, "USB redirection comes over SPICE, or from a TCP server")
        return
    _boot(draft, device, draft.add("usb-redirect", f"redirect{len(draft.get('usb-redirect') or ())}", entry))


def _redirect_filter(draft: Draft, one: Element) -> None:
    Reader(draft, one).lost(one, "all USB devices may be redirected")


_SINGLE: Final = {
    "rng": _rng,
    "watchdog": _watchdog,
    "panic": _panic,
    "tpm": _tpm,
    "filesystem": _share,
    "vsock": _vsock,
    "iommu": _iommu,
    "hostdev": _host_device,
    "redirdev": _redirect,
    "redirfilter": _redirect_filter,
}
_MANY: Final = frozenset({"filesystem", "hostdev", "redirdev", "panic"})
