"""The board: machine, accelerator, CPUs, memory, NUMA, firmware, boot, clock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from qsup.argv.quote import comma
from qsup.importer.features import feature_name
from qsup.units import Size

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.qemu.command import Command, Part

MIB: Final = 1 << 20
_FACTORS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE: Final = re.compile(r"(\d{1,18}(?:\.\d+)?)([bkmgtp]?)b?", re.IGNORECASE)
OWN: Final = frozenset(
    """
    S nodefaults no-user-config nodefconfig sandbox daemonize pidfile mon monitor qmp qmp-pretty msg
    no-shutdown runas chroot run-with full-screen no-quit alt-grab ctrl-grab no-fd-bootchk incoming
    enable-fips preconfig
    """.split()  # noqa: SIM905 - so many words read better as text
)
"""What qsup decides or does by itself for every guest."""
LOGS: Final = frozenset({"d", "D"})
BACKENDS: Final = {
    "memory-backend-ram": "ram",
    "memory-backend-memfd": "memfd",
    "memory-backend-file": "file",
}
HYPERV_KEYS: Final = frozenset(
    """
    relaxed vapic vpindex runtime synic stimer stimer-direct time frequencies reenlightenment tlbflush
    tlbflush-ext tlbflush-direct ipi evmcs emsr-bitmap xmm-input avic crash reset
    """.split()  # noqa: SIM905 - so many words read better as text
)


def convert(command: Command) -> None:
    """Everything that is no device."""
    for part in command.named(*OWN):
        part.used = True
    for part in command.named(*LOGS):
        command.at(part)
        command.draft.differs(
            part.option.shown(), "qsup has QEMU's log where it reads it; `qsup log --stderr` shows it"
        )
    _identity(command)
    _machine(command)
    _accel(command)
    _cpu(command)
    _smp(command)
    _memory(command)
    _numa(command)
    _boot(command)
    _clock(command)
    _ends(command)
    _tables(command)


def size(text: str | None, default: str = "m") -> int | None:
    """Bytes as QEMU writes them: ``512``, ``2G``."""
    found = _SIZE.fullmatch(text or "")
    if found is None:
        return None
    return round(float(found[1]) * _FACTORS[(found[2] or default).lower()])


def mib(count: int | None) -> str | None:
    """Bytes as a guest file writes them, rounded up to MiB."""
    return None if count is None else str(Size(-(-count // MIB) * MIB))


def _identity(command: Command) -> None:
    for part in command.named("uuid"):
        command.at(part)
        command.draft.set("uuid", to=(part.option.value or "").lower())
    for part in command.named("name"):
        part.keys.drop("guest", "process", "debug-threads")
        command.tell_left(part)


def _machine(command: Command) -> None:
    draft = command.draft
    kind: str | None = None
    for part in command.named("machine", "M"):
        keys = part.keys
        command.at(part)
        kind = keys.take("type") or kind
        for name in (keys.take("accel") or "").split(":"):
            if name in ("kvm", "tcg"):
                draft.set("machine", "accel", to=draft.get("machine", "accel") or name)
        keys.drop("usb", "dump-guest-core", "mem-merge" if keys.peek("mem-merge") == "on" else "usb")
        if keys.switch("mem-merge") is False:
            draft.set("memory", "merge", to=False)
        if (hpet := keys.switch("hpet")) is not None:
            draft.set("clock", "hpet", to=hpet)
        if (backend := keys.take("memory-backend")) is not None:
            _memory_backend(command, backend)
        _pflash(command, part)
        if keys.take("pcspk-audiodev"):
            draft.lost("pcspk-audiodev=", "the PC speaker makes no sound")
        if keys.take("confidential-guest-support", "memory-encryption"):
            command.lost(part, "qsup starts no confidential guests")
        for key, value in keys.left().items():
            draft.pass_on(f"-machine {key}={value}", ["-machine", f"{key}={comma(value)}"])
    draft.set("machine", "type", to=kind or "pc")


def _pflash(command: Command, part: Part) -> None:
    code, variables = (_pflash_file(command, part.keys.take(f"pflash{unit}")) for unit in (0, 1))
    _firmware(command, code, variables)
    for drive in command.others:
        if drive.option.name == "drive" and drive.keys.peek("if") == "pflash" and not drive.used:
            drive.used = True
            file = drive.keys.peek("file")
            first = drive.keys.peek("unit") == "0" or drive.keys.peek("readonly") == "on"
            command.at(drive)
            _firmware(command, file if first else None, None if first else file)


def _pflash_file(command: Command, node: str | None) -> str | None:
    part = command.use("blockdev", node)
    if part is None:
        return None
    below = command.use("blockdev", part.keys.peek("file"))
    return part.keys.peek("filename") or part.keys.peek("file.filename") or (
        below.keys.peek("filename") if below is not None else None
    )  # fmt: skip


def _firmware(command: Command, code: str | None, variables: str | None) -> None:
    draft = command.draft
    if code is not None:
        secure = any(word in code.lower() for word in ("secboot", ".ms."))
        draft.set("machine", "firmware", to="uefi-secure-boot" if secure else "uefi")
        draft.set("machine", "firmware-code", to=code)
    if variables is not None:
        draft.set("machine", "firmware", to=draft.get("machine", "firmware") or "uefi")
        draft.set("machine", "nvram-template", to=variables)
        draft.differs(f"the NVRAM {variables}", "the guest goes on with a copy of it in its state directory")


def _accel(command: Command) -> None:
    draft = command.draft
    for part in command.named("enable-kvm"):
        command.at(part)
        draft.set("machine", "accel", to="kvm")
    for part in command.named("accel"):
        command.at(part)
        name = part.keys.take("accel")
        if name in ("kvm", "tcg"):
            draft.set("machine", "accel", to=draft.get("machine", "accel") or name)
        else:
            command.lost(part, "qsup's accelerators are kvm and tcg")
        command.tell_left(part, "properties of the accelerator are qsup's")
    if draft.get("machine", "accel") is None:
        draft.set("machine", "accel", to="tcg")


def _cpu(command: Command) -> None:
    draft = command.draft
    for part in command.named("cpu"):
        command.at(part)
        words = (part.option.value or "").split(",")
        model = words[0]
        draft.set("cpu", "model", to=model)
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals:
                key, value = key.lstrip("+-"), "off" if key.startswith("-") else "on"
            if (name := feature_name(key)) is not None:
                _feature(draft, model, name, value)
    if draft.get("cpu", "model") is None:
        draft.here = "the whole"
        draft.set("cpu", "model", to="qemu64")


def _feature(draft: Draft, model: str, key: str, value: str) -> None:
    hyperv = key.removeprefix("hv-")
    if key == "migratable":
        return
    if key != hyperv and hyperv in HYPERV_KEYS and value in ("on", "off"):
        draft.set("hyperv", hyperv, to=value == "on")
    elif key == "hv-spinlocks":
        draft.set(
            "hyperv", "spinlocks", to=int(value, 0) if value[:12].isalnum() and _is_number(value) else value
        )
    elif key == "hv-vendor-id":
        draft.set("hyperv", "vendor-id", to=value)
    elif value in ("on", "off"):
        draft.set("cpu", "features", key, to=value == "on")
    else:
        draft.pass_on(f"{key}={value} of -cpu", ["-global", f"{model}-x86_64-cpu.{key}={comma(value)}"])


def _is_number(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return False
    return True


def _smp(command: Command) -> None:
    draft = command.draft
    for part in command.named("smp"):
        command.at(part)
        keys = part.keys
        found = {key: keys.number(key) for key in ("cpus", "maxcpus", "sockets", "dies", "cores", "threads")}
        product = 1
        for key in ("sockets", "dies", "cores", "threads"):
            product *= found[key] or 1
            draft.set("cpu", key, to=found[key] if not (key == "dies" and found[key] == 1) else None)
        count = found["cpus"] or found["maxcpus"] or product
        draft.set("cpu", "count", to=count)
        if found["maxcpus"] is not None and found["maxcpus"] != count:
            draft.set("cpu", "max", to=found["maxcpus"])
        for key in ("clusters", "modules", "books", "drawers"):
            if keys.number(key) not in (None, 1):
                draft.lost(part.option.shown(), f"x86 CPUs of qsup have no {key}")
        command.tell_left(part)


def _memory(command: Command) -> None:
    draft = command.draft
    for part in command.named("m"):
        command.at(part)
        keys = part.keys
        draft.set("memory", "size", to=mib(size(keys.take("size", "mem"))))
        most, slots = size(keys.take("maxmem"), "b"), keys.number("slots")
        if most is not None and slots:
            draft.set("memory", "max", to=mib(most))
            draft.set("memory", "slots", to=slots)
        command.tell_left(part)
    if draft.get("memory", "size") is None:
        draft.here = "the whole"
        draft.set("memory", "size", to="128 MiB")
    for part in command.named("mem-path"):
        command.at(part)
        draft.set("memory", "backend", to="file")
        draft.set("memory", "path", to=part.option.value)
    for part in command.named("mem-prealloc"):
        command.at(part)
        draft.set("memory", "prealloc", to=True)
    for part in command.named("overcommit", "realtime"):
        command.at(part)
        lock = part.keys.switch("mem-lock", "mlock")
        draft.set("memory", "lock", to=lock or None)
        for key, value in part.keys.left().items():
            draft.pass_on(part.option.shown(), ["-overcommit", f"{key}={comma(value)}"])


def _memory_backend(command: Command, name: str) -> Part | None:
    """What the guest's memory is; a part of it if there are NUMA nodes."""
    part = command.use("object", name)
    if part is None:
        return None
    draft, keys = command.draft, part.keys
    kind = BACKENDS.get(part.kind)
    if kind is None:
        command.lost(part, "qsup's memory is ram, memfd or file")
        return part
    keys.drop(
        "qom-type",
        "id",
        "size",
        "x-use-canonical-path-for-ramblock-id",
        "dump",
        "discard-data",
        "prealloc-threads",
        "prealloc-context",
    )
    path, pages = keys.take("mem-path"), size(keys.take("hugetlbsize"), "b")
    share, merge, prealloc = (keys.switch(key) for key in ("share", "merge", "prealloc"))
    huge = keys.switch("hugetlb")
    draft.set("memory", "backend", to=kind if kind != "ram" else None)
    draft.set("memory", "path", to=path if kind == "file" else None)
    if huge:
        draft.set("memory", "page-size", to=str(Size(pages or 2 * MIB)))
    default = {"memfd": True}.get(kind, False)
    draft.set("memory", "share", to=share if share is not None and share != default else None)
    draft.set("memory", "merge", to=False if merge is False else None)
    draft.set("memory", "prealloc", to=prealloc or None)
    return part


def _numa(command: Command) -> None:
    draft = command.draft
    nodes: dict[int, str] = {}
    for part in command.named("numa"):
        command.at(part)
        keys = part.keys
        kind = keys.take("type")
        if kind == "node":
            number = keys.number("nodeid")
            index = len(nodes) if number is None else number
            nodes[index] = draft.add("numa", f"n{index}", _node(command, part))
        elif kind == "dist":
            src, dst, value = (keys.number(key) for key in ("src", "dst", "val"))
            if src in nodes and dst in nodes and src != dst:
                draft.set("numa", nodes[src], "distance", nodes[dst], to=value)
        else:
            command.lost(part, "qsup knows nodes and their distances")
            continue
        command.tell_left(part)


def _node(command: Command, part: Part) -> dict[str, Any]:
    keys = part.keys
    entry: dict[str, Any] = {"cpus": ",".join(keys.every("cpus")) or None}
    if (memory := keys.take("mem")) is not None:
        entry["memory"] = mib(size(memory))
    backend = _memory_backend(command, keys.take("memdev") or "")
    if backend is not None:
        entry["memory"] = mib(size(backend.keys.peek("size"), "b"))
        entry["host-nodes"] = ",".join(backend.keys.every("host-nodes")) or None
        policy = backend.keys.take("policy")
        entry["policy"] = policy if policy != "default" else None
        command.tell_left(backend)
        command.at(part)
    return entry


def _boot(command: Command) -> None:
    draft = command.draft
    for part in command.named("boot"):
        command.at(part)
        keys = part.keys
        letters = keys.take("order")
        draft.set("boot", "menu", to=keys.switch("menu") or None)
        timeout = keys.number("splash-time")
        if timeout is not None:
            draft.set("boot", "menu-timeout", to=f"{timeout} ms")
        keys.drop("strict")
        command.ids["boot letters"] = letters or command.ids.get("boot letters", "")
        if keys.take("once"):
            draft.differs("once=", "the order is that of every start")
        for key, value in keys.left().items():
            draft.pass_on(f"-boot {key}={value}", ["-boot", f"{key}={comma(value)}"])
    for name, key in (("kernel", "kernel"), ("initrd", "initrd"), ("append", "cmdline")):
        for part in command.named(name):
            command.at(part)
            draft.set("boot", key, to=part.option.value)
    for part in command.named("bios"):
        command.keep(part)


def _clock(command: Command) -> None:
    draft = command.draft
    for part in command.named("rtc"):
        command.at(part)
        base = part.keys.take("base") or "utc"
        if base == "localtime":
            draft.set("clock", "base", to="localtime")
        elif base != "utc":
            draft.lost(f"-rtc base={base}", "the guest's clock starts with the host's")
        if part.keys.take("driftfix") == "slew":
            draft.set("clock", "drift-fix", to="slew")
        if part.keys.peek("clock") == "host":
            part.keys.drop("clock")
        for key, value in part.keys.left().items():
            draft.pass_on(f"-rtc {key}={value}", ["-rtc", f"{key}={comma(value)}"])
    if command.named("localtime"):
        draft.set("clock", "base", to="localtime")
    for part in command.named("no-hpet"):
        command.at(part)
        draft.set("clock", "hpet", to=False)
    for part in command.named("no-acpi"):
        command.at(part)
        draft.pass_on("-no-acpi", ["-machine", "acpi=off"])
    for part in command.named("global"):
        command.at(part)
        value = part.option.value or ""
        if value.startswith("kvm-pit.lost_tick_policy="):
            draft.set("clock", "pit-tick", to=value.partition("=")[2])
        else:
            command.keep(part)


def _ends(command: Command) -> None:
    draft = command.draft
    for part in command.named("no-reboot"):
        command.at(part)
        draft.set("restart", "on", "guest-reset", to="stop")
    for part in command.named("action"):
        command.at(part)
        keys = part.keys
        if keys.take("reboot") == "shutdown":
            draft.set("restart", "on", "guest-reset", to="stop")
        panic = {"pause": "pause", "none": "ignore"}.get(keys.take("panic") or "")
        draft.set("restart", "on", "guest-panic", to=panic)
        keys.drop("shutdown")
        draft.set("watchdog", "action", to=keys.take("watchdog"))
    for part in command.named("watchdog-action"):
        command.at(part)
        draft.set("watchdog", "action", to=part.option.value)


SMBIOS: Final[dict[str, dict[str, str]]] = {
    "0": {"vendor": "bios-vendor", "version": "bios-version", "date": "bios-date", "release": "bios-release"},
    "1": {key: key for key in ("manufacturer", "product", "version", "serial", "sku", "family")},
    "2": {key: f"board-{key}" for key in ("manufacturer", "product", "version", "serial", "asset")},
    "3": {key: f"chassis-{key}" for key in ("manufacturer", "version", "serial", "asset")},
}


def _tables(command: Command) -> None:
    """SMBIOS, ACPI and fw_cfg."""
    draft = command.draft
    for part in command.named("smbios"):
        command.at(part)
        kind = part.keys.take("type") or ""
        if kind == "11":
            for text in part.keys.every("value"):
                draft.append("smbios", "oem-strings", value=text)
        elif kind in SMBIOS:
            part.keys.drop("uuid")
            for key, ours in SMBIOS[kind].items():
                draft.set("smbios", ours, to=part.keys.take(key))
        else:
            command.keep(part)
            continue
        for key, value in part.keys.left().items():
            draft.pass_on(f"-smbios {key}={value}", ["-smbios", f"type={kind},{key}={comma(value)}"])
    for part in command.named("fw_cfg"):
        command.at(part)
        name = part.keys.take("name") or ""
        draft.add("fw-cfg", name.rpartition("/")[2], {
            "name": name, "file": part.keys.take("file"), "text": part.keys.take("string"),
        })  # fmt: skip
        command.tell_left(part)
