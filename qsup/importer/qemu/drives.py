"""Disks and CD-ROM drives: ``-drive``, ``-blockdev`` with ``-device``, and the short forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qsup.importer.qemu.board import size
from qsup.importer.qemu.words import Keys
from qsup.units import Size

if TYPE_CHECKING:
    from qsup.importer.qemu.command import Command, Part

DISKS: Final = {
    "virtio-blk": "virtio-blk",
    "virtio-blk-pci": "virtio-blk",
    "virtio-blk-pci-transitional": "virtio-blk",
    "virtio-blk-pci-non-transitional": "virtio-blk",
    "virtio-blk-device": "virtio-blk",
    "scsi-hd": "virtio-scsi",
    "scsi-disk": "virtio-scsi",
    "ide-hd": "ide",
    "ide-drive": "ide",
    "nvme": "nvme",
    "usb-storage": "usb",
}
CDROMS: Final = {"ide-cd": "ide", "scsi-cd": "virtio-scsi"}
INTERFACES: Final = {"ide": "ide", "virtio": "virtio-blk", "scsi": "virtio-scsi", None: "ide"}
PROTOCOLS: Final = ("file", "host_device", "host_cdrom")
FORMATS: Final = ("raw", "qcow2")
LIMITS: Final = {
    "bps-total": "bps", "bps-read": "bps_rd", "bps-write": "bps_wr",
    "iops-total": "iops", "iops-read": "iops_rd", "iops-write": "iops_wr",
    "bps-total-max": "bps_max", "bps-read-max": "bps_rd_max", "bps-write-max": "bps_wr_max",
    "iops-total-max": "iops_max", "iops-read-max": "iops_rd_max", "iops-write-max": "iops_wr_max",
    "iops-size": "iops_size",
}  # fmt: skip
"""qsup's limits, and their older names on ``-drive``."""
CACHES: Final = {
    (False, False): "writeback",
    (True, False): "none",
    (False, True): "writethrough",
    (True, True): "directsync",
}
"""By whether the host's cache is passed by, and whether each write is waited for."""


def convert(command: Command) -> None:
    """All drives."""
    for part in command.of(*DISKS, *CDROMS):
        _device(command, part)
    for part in command.named("drive"):
        _drive(command, part)
    for letter in "abcd":
        for part in command.named(f"hd{letter}"):
            _short(command, part, cdrom=False)
    for part in command.named("cdrom"):
        _short(command, part, cdrom=True)
    for part in command.named("fda", "fdb", "pflash", "mtdblock", "sd"):
        command.keep(part)
    for part in command.of("floppy", "isa-fdc"):
        if part.kind == "isa-fdc" and any(part.keys.peek(key) for key in ("driveA", "driveB", "bootindexA")):
            command.lost(part, "a floppy drive hangs on the controller as a device of its own")
        else:
            command.keep(part)
    for part in command.named("snapshot"):
        command.lost(part, "a disk's changes are kept; make a disk with `base` for a guest that forgets")
    for part in command.named("iscsi"):
        command.keep(part)


def _q35(command: Command) -> bool:
    return "q35" in str(command.draft.get("machine", "type"))


def _bus(command: Command, part: Part, bus: str) -> str:
    """The drive's bus: ``ide`` devices on a q35, or on an AHCI controller, are SATA ones."""
    wanted = part.keys.peek("bus") or ""
    own = {"ide.0", "ide.1", ""}
    if bus == "ide" and (_q35(command) or wanted not in own):
        return "sata"
    if bus == "virtio-scsi":
        controller = next(
            (one for one in command.devices if one.keys.peek("id") == wanted.rpartition(".")[0]), None
        )
        if controller is not None and not controller.kind.startswith("virtio-scsi"):
            command.draft.lost(f"the SCSI controller {controller.kind}", "all SCSI disks hang on virtio-scsi")
    return bus


def _short(command: Command, part: Part, *, cdrom: bool) -> None:
    command.at(part)
    path = part.option.value or ""
    bus = "sata" if _q35(command) else "ide"
    if cdrom:
        command.draft.add("cdrom", "cdrom", {"file": path or None, "bus": bus})
    else:
        form = _guessed(command, path)
        name = command.draft.add(
            "disk", part.option.name, {"file": path, "format": form, "bus": bus, "discard": "ignore"}
        )
        command.ids.setdefault("first disk", name)


def _guessed(command: Command, path: str) -> str:
    """The format of an image that the command line leaves to QEMU to find out."""
    form = command.image_format(path)
    if form is None:
        form = "raw" if path.startswith("/dev/") or path.endswith((".raw", ".iso")) else "qcow2"
        command.draft.differs(
            f"the format of {path}", f"QEMU would guess it; it is taken for {form}: see qemu-img info"
        )
    return form


def _drive(command: Command, part: Part) -> None:
    """A ``-drive`` that makes its device as well."""
    command.at(part)
    keys = part.keys
    interface = keys.take("if")
    if interface in ("floppy", "pflash", "mtd", "sd"):
        command.keep(part)
        return
    if interface not in INTERFACES:
        command.lost(part, "qsup has no such interface for drives")
        return
    keys.drop("index", "unit", "bus", "id", "if")
    bus = "sata" if interface in (None, "ide") and _q35(command) else INTERFACES[interface]
    if keys.take("media") == "cdrom":
        _add_cdrom(command, part, keys, bus if bus != "virtio-blk" else "sata")
    else:
        _add_disk(command, part, keys, bus, keys.peek("id") or interface or "hd")


def _device(command: Command, part: Part) -> None:
    """A device on a ``-blockdev`` or a ``-drive if=none``."""
    command.at(part)
    keys = part.keys
    driver = part.kind
    bus = _bus(command, part, (DISKS | CDROMS)[driver])
    keys.drop(
        "driver",
        "id",
        "unit",
        "lun",
        "channel",
        "scsi-id",
        "device_id",
        "port",
        "removable" if driver == "usb-storage" and keys.peek("removable") == "off" else "id",
    )
    command.place(part)
    name = keys.take("drive")
    backend = command.use("drive", name)
    source = backend.keys if backend is not None else _chain(command, name)
    if source is None and driver in CDROMS:
        source = Keys({})
    if source is None:
        _unknown(command, part, name)
        return
    if backend is not None:
        source.drop("id", "if", "index")
    if driver in CDROMS or source.peek("media") == "cdrom":
        source.drop("media")
        _add_cdrom(command, part, source, bus)
    else:
        source.drop("media")
        _add_disk(command, part, source, bus, keys.peek("id") or name or "disk")
    if backend is not None:
        command.tell_left(backend)


def _unknown(command: Command, part: Part, name: str | None) -> None:
    """A drive whose image qsup cannot name: QEMU can, where the device needs no controller."""
    for one in command.nodes_below(name):
        one.used = False
    if DISKS.get(part.kind) in ("virtio-blk", "nvme") and ("blockdev", name or "") in command.backends:
        command.keep(part)
    else:
        command.lost(part, "of images qsup knows files, block devices of the host, and NBD without TLS")


def _chain(command: Command, name: str | None) -> Keys | None:
    """The nodes of ``-blockdev`` as one set of keys, like those of ``-drive``; None if they are no plain image."""
    part = command.use("blockdev", name)
    found: dict[str, list[str]] = {}
    form: str | None = None
    for _ in range(8):
        if part is None:
            return None
        keys = part.keys
        driver = keys.take("driver") or ""
        keys.drop("node-name", "auto-read-only", "x-check-cache-dropped", "locking")
        _backing(command, keys)
        if driver in FORMATS and form is None:
            form = driver
        elif driver == "throttle":
            found["throttle-group"] = [keys.take("throttle-group") or ""]
        elif driver in (*PROTOCOLS, "nbd"):
            found |= {"format": [form or "raw"], "protocol": [driver]}
            found |= {key: [value] for key, value in keys.left().items() if key not in found}
            return Keys({("read-only" if key == "readonly" else key): value for key, value in found.items()})
        else:
            return None
        inner = keys.take("file")
        found |= {key: [value] for key, value in keys.left().items() if not key.startswith("file.")}
        part = command.use("blockdev", inner) if inner is not None else _nested(part, keys)
    return None


def _nested(part: Part, keys: Keys) -> Part | None:
    below = keys.below("file")
    return type(part)(part.option, below) if below else None


def _backing(command: Command, keys: Keys) -> None:
    """The chain below an image is in the image; nodes that say it again are nothing to tell."""
    name = keys.take("backing")
    for _ in range(64):
        part = command.use("blockdev", name)
        if part is None:
            return
        below = command.use("blockdev", part.keys.peek("file"))
        if below is not None and below.keys.peek("file"):
            command.use("blockdev", below.keys.peek("file"))
        name = part.keys.peek("backing") or (below.keys.peek("backing") if below is not None else None)


def _source(source: Keys) -> dict[str, Any] | None:
    """The image: a file, a device or an NBD export."""
    protocol = source.take("protocol", "file.driver") or "file"
    path = source.take("file", "filename", "file.filename")
    if path is not None and path.startswith(("nbd:", "nbd+")):
        return {"nbd": path if "://" in path else f"nbd://{path.removeprefix('nbd:')}"}
    if protocol == "nbd":
        export = source.take("export", "file.export") or ""
        host, port = (
            source.take("server.host", "host", "file.server.host"),
            source.take("server.port", "port"),
        )
        unix = source.take("server.path", "path", "file.server.path")
        source.drop("server.type", "tls-creds" if source.peek("tls-creds") is None else "server.type")
        if source.peek("tls-creds") is not None:
            return None
        if unix is not None:
            return {"nbd": f"nbd+unix:///{export}?socket={unix}"}
        at_host = f"[{host}]" if host and ":" in host else host
        return {"nbd": f"nbd://{at_host or 'localhost'}:{port or 10809}/{export}"}
    if protocol not in PROTOCOLS or (path is not None and "://" in path):
        return None
    return {"file": path} if path else {}


def _add_cdrom(command: Command, part: Part, source: Keys, bus: str) -> None:
    draft, keys = command.draft, part.keys
    found = _source(source)
    if found is None or "nbd" in found:
        draft.lost(part.option.shown(), "a CD-ROM's image is a file; the drive is empty")
        found = {}
    for one in (source, keys):
        one.drop(
            "format",
            "read-only",
            "readonly",
            "cache",
            "aio",
            "cache.direct",
            "cache.no-flush",
            "write-cache",
            "serial",
            "discard",
            "werror",
            "rerror",
            "node-name",
            "throttle-group",
        )
    name = draft.add("cdrom", keys.peek("id") or "cdrom", {**found, "bus": bus})
    _boot(command, part, name)
    _leftovers(command, part, source)


def _add_disk(command: Command, part: Part, source: Keys, bus: str, wanted: str) -> None:
    draft, keys = command.draft, part.keys
    found = _source(source)
    form = source.take("format", "driver")
    if not found:
        command.lost(part, "of images qsup knows files, block devices of the host, and NBD without TLS")
        return
    if form is None and "file" in found:
        form = _guessed(command, found["file"])
    if form is not None and form.startswith("host_"):
        form = "raw"
    if form not in (*FORMATS, None):
        draft.lost(
            f"the format {form}", "qsup's disks are qcow2 or raw; convert the image with qemu-img convert"
        )
    entry = {
        **found,
        "format": form if form != "qcow2" else None,
        "bus": bus,
        "read-only": True if source.switch("readonly", "read-only") else None,
        "cache": _cache(source, keys),
        "aio": source.take("aio"),
        "discard": {"on": "unmap", "off": "ignore"}.get(said := source.take("discard") or "ignore", said),
        "detect-zeroes": source.take("detect-zeroes"),
        "werror": keys.take("werror") or source.take("werror"),
        "rerror": keys.take("rerror") or source.take("rerror"),
        "queues": keys.number("num-queues") if bus == "virtio-blk" else None,
        "serial": keys.take("serial") or source.take("serial"),
        "iothread": _iothread(command, keys),
    }
    limits = _limits(command, source)
    name = draft.add("disk", wanted, entry)
    if limits:
        draft.set("throttle", f"{name}-limits"[:20], to=limits)
        draft.set("disk", name, "throttle", to=f"{name}-limits"[:20])
    command.ids.setdefault("first disk", name)
    _boot(command, part, name)
    _leftovers(command, part, source)


def _leftovers(command: Command, part: Part, source: Keys) -> None:
    for key, value in source.left().items():
        if part.keys is not source and not (key.startswith("cache.") and value == "off"):
            command.draft.lost(f"{key}={value} of the image", "qsup has no counterpart")
    command.tell_left(part)


def _boot(command: Command, part: Part, name: str) -> None:
    place = part.keys.number("bootindex")
    if place is not None:
        command.draft.boot(place, name)


def _cache(source: Keys, keys: Keys) -> str | None:
    mode = source.take("cache")
    direct, no_flush = source.switch("cache.direct"), source.switch("cache.no-flush")
    through = keys.take("write-cache") == "off" or source.switch("cache.writeback") is False
    if mode is None:
        mode = "unsafe" if no_flush else CACHES[direct is True, through]
    return mode if mode != "writeback" else None


def _iothread(command: Command, keys: Keys) -> str | None:
    part = command.use("object", keys.take("iothread"))
    if part is None:
        return None
    name = part.keys.peek("id") or ""
    command.draft.set("iothread", name, to={})
    return name


def _limits(command: Command, source: Keys) -> dict[str, Any]:
    """Limits of the image itself, or of the group that it is in."""
    group = source.take("throttle-group")
    part = command.use("object", group)
    keys = part.keys if part is not None else source
    found: dict[str, Any] = {}
    for key, older in LIMITS.items():
        value = keys.take(f"throttling.{key}", f"limits.{key}", f"x-{key}", older)
        if value is not None and (count := size(value, "b")):
            found[key] = str(Size(count)) if key.startswith("bps") else count
    source.drop("throttling.group")
    return found
