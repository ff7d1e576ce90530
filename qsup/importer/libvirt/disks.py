"""Disks, CD-ROM and floppy drives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from qsup.importer.libvirt.words import Reader, at, exact, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

DISK_BUSES: Final = {
    "virtio": "virtio-blk",
    "scsi": "virtio-scsi",
    "sata": "sata",
    "ide": "ide",
    "nvme": "nvme",
    "usb": "usb",
}
CDROM_BUSES: Final = {"scsi": "virtio-scsi", "sata": "sata", "ide": "ide", "usb": "usb"}
FORMATS: Final = ("raw", "qcow2")
CACHES: Final = dict.fromkeys(("none", "writeback", "writethrough", "directsync", "unsafe"), "")
THROTTLE: Final = {
    "total_bytes_sec": "bps-total",
    "read_bytes_sec": "bps-read",
    "write_bytes_sec": "bps-write",
    "total_iops_sec": "iops-total",
    "read_iops_sec": "iops-read",
    "write_iops_sec": "iops-write",
    "total_bytes_sec_max": "bps-total-max",
    "read_bytes_sec_max": "bps-read-max",
    "write_bytes_sec_max": "bps-write-max",
    "total_iops_sec_max": "iops-total-max",
    "read_iops_sec_max": "iops-read-max",
    "write_iops_sec_max": "iops-write-max",
    "size_iops_sec": "iops-size",
}
ERRORS: Final = {"stop": "stop", "report": "report", "ignore": "ignore", "enospace": "enospc"}


def convert(draft: Draft, domain: Element, devices: Element) -> dict[str, list[str]]:
    """The drives; returns the ids of each kind that libvirt boots from: ``hd``, ``cdrom``."""
    kinds: dict[str, list[str]] = {"hd": [], "cdrom": [], "fd": []}
    _iothreads(draft, domain)
    for number_, disk in enumerate(devices.children("disk")):
        reader = _Disk(draft, disk, domain, number_)
        kind, name = reader.convert()
        if name is not None:
            kinds[kind].append(name)
    return kinds


def _iothreads(draft: Draft, domain: Element) -> None:
    count = number(domain.text_of("iothreads")) or 0
    listed = domain.child("iothreadids")
    ids = []
    for one in listed.children("iothread") if listed is not None else []:
        draft.here = at(one)
        ids.append(number(one.get("id")) or 0)
        for attribute in ("thread_pool_min", "thread_pool_max"):
            one.get(attribute)
        if one.child("poll") is not None:
            draft.lost(one.shown(), "qsup leaves the polling of I/O threads to QEMU")
            one.settle()
    fresh = (index for index in range(1, count + len(ids) + 1) if index not in ids)
    while len(ids) < min(count, 64):
        ids.append(next(fresh))
    for index in sorted(ids)[:64]:
        draft.set("iothread", f"io{index}", to=draft.get("iothread", f"io{index}") or {})


class _Disk(Reader):
    """One ``<disk>``."""

    def __init__(self, draft: Draft, disk: Element, domain: Element, place: int) -> None:
        super().__init__(draft, disk)
        self._domain = domain
        self._target = disk.child("target")
        self._driver = disk.child("driver")
        self._place = place

    def convert(self) -> tuple[str, str | None]:
        """The kind of the drive, and its id if there is one now."""
        disk = self.element
        device = disk.get("device") or "disk"
        if device == "floppy":
            self._floppy()
            return "fd", None
        if device == "lun":
            self.lost(disk, "qsup passes no SCSI commands through; name the block device as a disk")
            return "hd", None
        if device not in ("disk", "cdrom"):
            self.lost(disk, "qsup has no such drive")
            return "hd", None
        kind = "cdrom" if device == "cdrom" else "hd"
        source = self._source(removable=kind == "cdrom")
        bus = self._bus(CDROM_BUSES if kind == "cdrom" else DISK_BUSES)
        if source is None or bus is None:
            disk.settle()
            return kind, None
        entry = self._cdrom(source, bus) if kind == "cdrom" else self._disk(source, bus)
        target = self._target.get("dev") if self._target is not None else None
        name = self.draft.add("cdrom" if kind == "cdrom" else "disk", target or f"disk{self._place}", entry)
        self._boot(name)
        return kind, name

    def _boot(self, name: str) -> None:
        boot = self.element.child("boot")
        if boot is not None:
            self.draft.boot(number(boot.get("order")) or 0, name)
            boot.get("loadparm")

    def _bus(self, known: dict[str, str]) -> str | None:
        target = self._target
        bus = target.get("bus") if target is not None else None
        if bus is None:
            name = (target.get("dev") if target is not None else None) or ""
            bus = {"hd": "ide", "sd": "scsi", "vd": "virtio", "fd": "fdc", "ub": "usb"}.get(
                name[:2], "virtio"
            )
        if bus not in known:
            self.draft.lost(self.element.shown(), f"qsup has no bus {bus!r} for it; it is left out")
            return None
        if bus == "scsi":
            self._controller()
        if target is not None:
            tray, removable = target.get("tray"), target.get("removable")
            if tray == "open":
                self.draft.differs(target.shown(), "the tray is closed as the guest starts")
            if removable == "on":
                self.draft.lost(target.shown(), "the guest sees a disk that cannot be removed")
            if target.get("rotation_rate") or target.get("dpofua"):
                self.draft.lost(target.shown(), "the guest sees QEMU's default")
        model = self.element.get("model")
        if model and model != "virtio":
            self.draft.differs(f"<disk model='{model}'>", "virtio disks are transitional on the PCI bus")
        return known[bus]

    def _controller(self) -> None:
        address = self.element.child("address")
        index = (address.get("controller") if address is not None else None) or "0"
        controllers = self._domain.child("devices")
        for one in controllers.children("controller") if controllers is not None else []:
            if one.get("type") == "scsi" and (one.get("index") or "0") == index:
                model = one.get("model")
                if model not in (
                    None,
                    "auto",
                    "virtio-scsi",
                    "virtio-transitional",
                    "virtio-non-transitional",
                ):
                    self.draft.lost(f"the SCSI controller {model}", "all SCSI disks hang on virtio-scsi")

    def _source(self, *, removable: bool) -> dict[str, str] | None:
        """The keys that say where the data is; None if it cannot be said."""
        disk = self.element
        source = disk.child("source")
        kind = disk.get("type") or "file"
        if source is None or (
            not source.peek("file") and not source.peek("dev") and kind in ("file", "block")
        ):
            if removable:
                return {}
            self.lost(disk, "a disk without an image")
            return None
        for attribute in ("file", "dev"):
            if path := source.get(attribute):
                return {"file": path} if self._is_plain(source) else None
        if kind == "network":
            return self._network(source)
        self.lost(disk, f"qsup has no images of type {kind!r}; name a file or a block device")
        return None

    def _is_plain(self, source: Element) -> bool:
        for child in ("encryption", "slices"):
            if (found := source.child(child)) is not None or (found := self.element.child(child)) is not None:
                self.lost(self.element, f"qsup has no {found.name} for images: the disk would be unreadable")
                return False
        return True

    def _network(self, source: Element) -> dict[str, str] | None:
        protocol, host = source.get("protocol"), source.child("host")
        if protocol != "nbd" or host is None or switch(source, "tls") or not self._is_plain(source):
            self.lost(self.element, "of network disks qsup knows NBD without TLS")
            return None
        export = source.get("name")
        name = host.get("name") or "localhost"
        if host.get("transport") == "unix":
            tail = f"/{export or ''}?socket={host.get('socket')}"
            return {"nbd": f"nbd+unix://{tail}"}
        at_host = f"[{name}]" if ":" in name else name
        return {"nbd": f"nbd://{at_host}:{host.get('port') or '10809'}/{export or ''}"}

    def _cdrom(self, source: dict[str, str], bus: str) -> dict[str, Any]:
        driver = self._driver
        kind = driver.get("type") if driver is not None else None
        if "nbd" in source:
            self.draft.lost(self.element.shown(), "a CD-ROM's image is a file; the drive is empty")
            source = {}
        if kind not in (None, "raw", "host_device"):
            self.draft.lost(self.element.shown(), f"a CD-ROM's image is raw, not {kind}; the drive is empty")
            source = {}
        for element in ("readonly", "serial"):
            self.element.child(element)
        if (serial := self.element.child("serial")) is not None:
            self.draft.differs(f"serial number {serial.text}", "a CD-ROM drive's serial number is its id")
        if driver is not None:
            for attribute in ("cache", "io", "error_policy", "rerror_policy", "discard", "detect_zeroes"):
                driver.get(attribute)
        return {**source, "bus": bus}

    def _disk(self, source: dict[str, str], bus: str) -> dict[str, Any]:
        disk, driver = self.element, self._driver
        form = (driver.get("type") if driver is not None else None) or "raw"
        if form not in FORMATS:
            self.draft.lost(
                f"the format {form}", "qsup's disks are qcow2 or raw; convert the image with qemu-img convert"
            )
        read_only = disk.child("readonly") is not None
        cache = self.pick(driver, "cache", {name: name for name in CACHES} | {"default": "writeback"})
        serial = disk.text_of("serial")
        return {
            **source,
            "format": form if form != "qcow2" else None,
            "bus": bus,
            "read-only": True if read_only else None,
            "cache": cache if cache != "writeback" else None,
            "aio": self.pick(
                driver, "io", {"threads": "threads", "native": "native", "io_uring": "io_uring"}
            ),
            "discard": self.pick(driver, "discard", {"unmap": "unmap", "ignore": "ignore"}, "ignore"),
            "detect-zeroes": self.pick(driver, "detect_zeroes", {"off": "off", "on": "on", "unmap": "unmap"}),
            "werror": self.pick(driver, "error_policy", ERRORS),
            "rerror": self.pick(driver, "rerror_policy", ERRORS) or self._read_errors(driver),
            "throttle": self._throttle(),
            "iothread": self._iothread(driver),
            "queues": number(driver.get("queues")) if driver is not None else None,
            "serial": serial,
        }

    def _read_errors(self, driver: Element | None) -> str | None:
        """The policy for reads: libvirt's one policy is for both, but for what a read cannot meet."""
        policy = ERRORS.get(driver.get("error_policy") or "") if driver is not None else None
        return None if policy == "enospc" else policy

    def _iothread(self, driver: Element | None) -> str | None:
        index = number(driver.get("iothread")) if driver is not None else None
        if driver is not None and (many := driver.child("iothreads")) is not None:
            one = next(iter(many.children("iothread")), None)
            index = number(one.get("id")) if one is not None else None
            if len(many.children("iothread")) > 1:
                self.draft.lost(many.shown(), "a disk has one I/O thread; it is the first")
            many.settle()
        return None if index is None else f"io{index}"

    def _throttle(self) -> str | None:
        tune = self.element.child("iotune")
        if tune is None:
            return None
        self.draft.here = at(tune)
        limits: dict[str, Any] = {}
        for one in tune.children():
            value = number(one.text)
            if one.name in THROTTLE and value:
                key = THROTTLE[one.name]
                limits[key] = exact(value) if key.startswith("bps") else value
            elif one.name not in THROTTLE and one.name != "group_name":
                self.lost(one, "qsup has bursts of one second only")
        group = tune.text_of("group_name")
        self.draft.here = at(self.element)
        if not limits:
            return None
        known = self.draft.get("throttle") or {}
        if group and group in known and known[group] == limits:
            return group
        target = self._target.get("dev") if self._target is not None else None
        name = group or f"{target or 'disk'}-limits"
        self.draft.set("throttle", name, to=limits)
        return name

    def _floppy(self) -> None:
        """A floppy drive, of which qsup has none; QEMU's own words make one."""
        disk = self.element
        source = disk.child("source")
        path = (source.get("file") or source.get("dev")) if source is not None else None
        if source is not None and not path:
            self.lost(disk, "a floppy's image is a file")
            return
        machine = str(self.draft.get("machine", "type") or "")
        controller = ["-device", '{"driver":"isa-fdc","id":"floppies"}'] if "q35" in machine else []
        if controller and any("isa-fdc" in arg for arg in self.draft.get("qemu", "args") or []):
            controller = []
        target = (self._target.get("dev") if self._target is not None else None) or "fda"
        bus = self._target.get("bus") if self._target is not None else None
        unit = 1 if target.endswith("b") else 0
        read_only = disk.child("readonly") is not None
        if bus not in (None, "fdc"):
            self.lost(disk, "floppy drives hang on the floppy controller")
            return
        node = f"floppy-{target}"
        backend = {"driver": "file", "filename": path, "node-name": node, "read-only": read_only}
        drive = {"driver": "floppy", "unit": unit, **({"drive": node} if path else {})}
        words = ["-blockdev", json.dumps(backend)] if path else []
        self.draft.pass_on(disk.shown(), [*controller, *words, "-device", json.dumps(drive)])
        disk.settle()
