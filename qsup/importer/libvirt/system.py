"""The domain as a whole: name, board, firmware, CPU features, clock, what happens at an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.words import Reader, at, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

ACCELS: Final = {"kvm": "kvm", "qemu": "tcg"}
USUAL_EMULATORS: Final = frozenset(
    f"{folder}/{name}"
    for folder in ("/usr/bin", "/usr/libexec", "/usr/local/bin", "/bin")
    for name in ("qemu-system-x86_64", "qemu-system-i386", "qemu-kvm", "kvm", "qemu")
)
ENDS: Final = {
    "on_poweroff": ("guest-shutdown", {"destroy": None, "restart": "restart", "preserve": "pause"}),
    "on_reboot": ("guest-reset", {"restart": None, "destroy": "stop", "preserve": "pause"}),
}
CRASH: Final = {
    "destroy": "stop",
    "restart": "restart",
    "preserve": "pause",
    "coredump-destroy": "stop",
    "coredump-restart": "restart",
}


def convert(draft: Draft, domain: Element) -> None:
    """Everything but CPUs, memory and devices."""
    _identity(draft, domain)
    _board(draft, domain)
    os = domain.child("os")
    if os is not None:
        _firmware(draft, os)
        _boot(draft, os)
    _features(draft, domain)
    _clock(draft, domain)
    _ends(draft, domain)
    _power(draft, domain)
    _extras(draft, domain)


def _identity(draft: Draft, domain: Element) -> None:
    for name in ("description", "title"):
        if (element := domain.child(name)) is not None and element.text:
            draft.here = at(element)
            draft.set("description", to=" ".join(element.text.split())[:4096])
    if (uuid := domain.child("uuid")) is not None:
        draft.here = at(uuid)
        draft.set("uuid", to=_uuid(uuid.text))
    if (genid := domain.child("genid")) is not None:
        draft.here = at(genid)
        draft.pass_on(genid.shown(), ["-device", f"vmgenid,guid={genid.text or 'auto'}"])


def _uuid(text: str) -> str:
    digits = text.replace("-", "").lower()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts) if len(digits) == 32 else text


def _board(draft: Draft, domain: Element) -> None:
    reader = Reader(draft, domain)
    accel = reader.pick(domain, "type", ACCELS, "kvm")
    draft.set("machine", "accel", to=accel)
    kind = domain.child("os", "type")
    if kind is not None:
        draft.here = at(kind)
        draft.set("machine", "type", to=kind.get("machine") or "pc")
        if kind.get("arch") == "i686":
            draft.differs(kind.shown(), "qemu-system-x86_64 runs 32-bit guests as well")
    emulator = domain.child("devices", "emulator")
    if emulator is not None and emulator.text and emulator.text not in USUAL_EMULATORS:
        draft.here = at(emulator)
        draft.set("qemu", "binary", to=emulator.text)


def _firmware(draft: Draft, os: Element) -> None:
    loader, nvram = os.child("loader"), os.child("nvram")
    wanted = {feature.get("name"): switch(feature, "enabled") for feature in _all(os, "firmware", "feature")}
    secure = (loader is not None and switch(loader, "secure")) or bool(wanted.get("secure-boot"))
    if wanted.get("enrolled-keys") is False and secure:
        draft.lost(
            "<feature name='enrolled-keys' enabled='no'>", "qsup's secure boot comes with the vendor's keys"
        )
    if os.get("firmware") == "efi":
        draft.here = at(os)
        draft.set("machine", "firmware", to="uefi-secure-boot" if secure else "uefi")
    if loader is not None:
        _loader(draft, os, loader, nvram, secure=secure)
    if nvram is not None:
        _nvram(draft, nvram)
    if (bios := os.child("bios")) is not None:
        _bios(draft, bios)


def _loader(draft: Draft, os: Element, loader: Element, nvram: Element | None, *, secure: bool) -> None:
    draft.here = at(loader)
    kind, form = loader.get("type"), loader.get("format") or "raw"
    path = loader.text
    read_only, stateless = switch(loader, "readonly"), switch(loader, "stateless")
    if kind == "rom" or (kind is None and path and os.peek("firmware") is None):
        draft.pass_on(loader.shown(), ["-bios", path])
        return
    if stateless or (nvram is None and os.peek("firmware") != "efi"):
        draft.differs(loader.shown(), "qsup gives the firmware an NVRAM of its own")
    if form != "raw":
        draft.lost(
            loader.shown(), "qsup takes firmware in raw files; the one of QEMU's firmware descriptors is used"
        )
    elif path:
        draft.set("machine", "firmware-code", to=path)
    if read_only is False:
        draft.differs(
            loader.shown(), "the firmware's code is read-only; its variables have a file of their own"
        )
    draft.set("machine", "firmware", to="uefi-secure-boot" if secure else "uefi")


def _nvram(draft: Draft, nvram: Element) -> None:
    draft.here = at(nvram)
    template = nvram.get("template")
    if template and draft.get("machine", "firmware-code"):
        draft.set("machine", "nvram-template", to=template)
    for attribute in ("templateFormat", "format"):
        if (form := nvram.get(attribute)) not in (None, "raw"):
            draft.lost(nvram.shown(), f"qsup keeps the NVRAM in a raw file, not in {form}")
    source = nvram.child("source")
    where = nvram.text or (source and (source.get("file") or source.get("dev")))
    if source is not None and nvram.get("type") == "network":
        draft.lost(nvram.shown(), "qsup keeps the NVRAM in a file of the guest's state directory")
        source.settle()
    elif where:
        draft.differs(
            f"the NVRAM in {where}",
            "qsup keeps it in the guest's state directory; copy the file there before the first start to keep "
            "what the firmware has stored",
        )
    nvram.get("type")


def _bios(draft: Draft, bios: Element) -> None:
    draft.here = at(bios)
    timeout = number(bios.get("rebootTimeout"))
    if timeout is not None:
        draft.pass_on(bios.shown(), ["-boot", f"reboot-timeout={timeout}"])
    if switch(bios, "useserial"):
        draft.pass_on(bios.shown(), ["-machine", "graphics=off"])


def _boot(draft: Draft, os: Element) -> None:
    menu = os.child("bootmenu")
    if menu is not None:
        draft.here = at(menu)
        draft.set("boot", "menu", to=switch(menu, "enable") or None)
        timeout = number(menu.get("timeout"))
        draft.set("boot", "menu-timeout", to=None if timeout is None else f"{timeout} ms")
    for name, key in (("kernel", "kernel"), ("initrd", "initrd"), ("cmdline", "cmdline")):
        element = os.child(name)
        if element is not None and element.text:
            draft.here = at(element)
            draft.set("boot", key, to=element.text)
    for table in _all(os, "acpi", "table"):
        draft.here = at(table)
        flag = "sig=SLIC,file" if table.get("type") == "slic" else "file"
        draft.pass_on(table.shown(), ["-acpitable", f"{flag}={table.text.replace(',', ',,')}"])


ON: Final = "on"
KVM_FEATURES: Final = {
    "hint-dedicated": "kvm-hint-dedicated",
    "poll-control": "kvm-poll-control",
    "pv-ipi": "kvm-pv-ipi",
}
HYPERV: Final = {
    "relaxed": "relaxed",
    "vapic": "vapic",
    "vpindex": "vpindex",
    "runtime": "runtime",
    "synic": "synic",
    "stimer": "stimer",
    "reset": "reset",
    "frequencies": "frequencies",
    "reenlightenment": "reenlightenment",
    "tlbflush": "tlbflush",
    "ipi": "ipi",
    "evmcs": "evmcs",
    "avic": "avic",
    "emsr_bitmap": "emsr-bitmap",
    "xmm_input": "xmm-input",
}


def _features(draft: Draft, domain: Element) -> None:
    features = domain.child("features")
    present = {feature.name: feature for feature in features.children()} if features is not None else {}
    if "acpi" not in present:
        draft.here = at(features or domain)
        draft.pass_on("no ACPI", ["-machine", "acpi=off"])
    for name, feature in present.items():
        draft.here = at(feature)
        _feature(draft, name, feature)
    if (smm := present.get("smm")) is not None and (tseg := smm.child("tseg")) is not None:
        draft.here = at(tseg)
        count = number(tseg.text)
        unit = (tseg.get("unit") or "MiB").lower()
        if count and unit == "mib":
            draft.pass_on(tseg.shown(), ["-global", f"mch.extended-tseg-mbytes={count}"])
        else:
            draft.lost(tseg.shown(), "qsup passes whole MiB only")


def _feature(draft: Draft, name: str, feature: Element) -> None:
    state = feature.get("state")
    match name:
        case "acpi" | "pae" | "hap":
            pass
        case "apic":
            _cpu_flag(draft, "kvm-pv-eoi", feature.get("eoi"))
        case "vmport" | "smm":
            if state is not None:
                draft.pass_on(feature.shown(), ["-machine", f"{name}={state}"])
        case "pmu":
            _cpu_flag(draft, "pmu", state)
        case "pvspinlock":
            _cpu_flag(draft, "kvm-pv-unhalt", state or ON)
        case "vmcoreinfo":
            if state in (None, ON):
                draft.pass_on(feature.shown(), ["-device", "vmcoreinfo"])
        case "ps2":
            if state is not None:
                draft.pass_on(feature.shown(), ["-machine", f"i8042={state}"])
        case "ioapic":
            chip = {"kvm": "on", "qemu": "split"}.get(feature.get("driver") or "")
            draft.pass_on(feature.shown(), ["-machine", f"kernel-irqchip={chip}"])
        case "kvm":
            _kvm(draft, feature)
        case "hyperv":
            _hyperv(draft, feature)
        case _:
            draft.lost(feature.shown(), "qsup has no counterpart")
            feature.settle()


def _cpu_flag(draft: Draft, name: str, state: str | None) -> None:
    if state is not None:
        draft.set("cpu", "features", name, to=state == ON)


def _kvm(draft: Draft, kvm: Element) -> None:
    for one in kvm.children():
        state = one.get("state")
        draft.here = at(one)
        if one.name == "hidden":
            _cpu_flag(draft, "kvm", None if state is None else "off" if state == ON else "on")
        elif one.name in KVM_FEATURES:
            _cpu_flag(draft, KVM_FEATURES[one.name], state)
        else:
            draft.lost(one.shown(), "it is a property of the accelerator, and that is machine.accel's")
            one.settle()


def _hyperv(draft: Draft, hyperv: Element) -> None:
    if (mode := hyperv.get("mode")) == "passthrough":
        draft.lost(hyperv.shown(), "qsup names each enlightenment; hyperv.enabled is the recommended set")
        draft.set("hyperv", "enabled", to=True)
    elif mode not in (None, "custom"):
        draft.lost(hyperv.shown(), "qsup does not know this mode")
    for one in hyperv.children():
        draft.here = at(one)
        state = one.get("state")
        if state is None:
            continue
        if one.name in HYPERV:
            draft.set("hyperv", HYPERV[one.name], to=state == ON)
        elif one.name == "spinlocks" and state == ON:
            draft.set("hyperv", "spinlocks", to=number(one.get("retries")) or 8191)
        elif one.name == "vendor_id" and state == ON:
            draft.set("hyperv", "vendor-id", to=one.get("value"))
        elif state == ON:
            _cpu_flag(draft, f"hv-{one.name.replace('_', '-')}", state)
        if one.name == "stimer" and (direct := switch(one.child("direct"), "state")) is not None:
            draft.set("hyperv", "stimer-direct", to=direct)
        if one.name == "tlbflush":
            for inner in one.children("direct", "extended"):
                key = "tlbflush-ext" if inner.name == "extended" else "tlbflush-direct"
                draft.set("hyperv", key, to=switch(inner, "state"))


def _clock(draft: Draft, domain: Element) -> None:
    clock = domain.child("clock")
    if clock is None:
        return
    reader = Reader(draft, clock)
    offset = clock.get("offset") or "utc"
    if offset == "localtime":
        draft.set("clock", "base", to="localtime")
    elif offset == "timezone":
        draft.differs(clock.shown(), "qsup's localtime is the host's own time zone")
        draft.set("clock", "base", to="localtime")
        clock.get("timezone")
    elif offset == "absolute":
        reader.lost(clock, "the guest's clock starts with the host's")
    elif offset == "variable":
        if number(clock.get("adjustment")) not in (None, 0):
            draft.lost(clock.shown(), "the guest's clock starts with the host's, without an adjustment")
        if clock.get("basis") == "localtime":
            draft.set("clock", "base", to="localtime")
    elif clock.get("adjustment") not in (None, "reset"):
        draft.lost(clock.shown(), "the guest's clock starts with the host's, without an adjustment")
    for timer in clock.children("timer"):
        draft.here = at(timer)
        _timer(draft, timer)


def _timer(draft: Draft, timer: Element) -> None:
    name, present, policy = timer.get("name"), switch(timer, "present"), timer.get("tickpolicy")
    match name:
        case "rtc" if policy == "catchup" and present is not False:
            draft.set("clock", "drift-fix", to="slew")
            if timer.child("catchup") is not None:
                draft.differs(timer.shown(), "QEMU has no settings for how it catches up")
                timer.settle()
        case "rtc" if policy in (None, "delay") and timer.get("track") in (None, "guest"):
            pass
        case "rtc" if timer.get("track") == "wall":
            draft.differs(timer.shown(), "the RTC follows the host's clock, as QEMU's default is")
        case "pit" if present is not False:
            if policy in ("delay", "discard"):
                draft.set("clock", "pit-tick", to=policy)
            elif policy == "catchup":
                draft.differs(timer.shown(), "KVM's timer catches up by itself")
        case "hpet":
            draft.set("clock", "hpet", to=present)
        case "kvmclock":
            _cpu_flag(draft, "kvmclock", None if present is None else "on" if present else "off")
        case "hypervclock":
            if present is not None:
                draft.set("hyperv", "time", to=present)
        case _ if present is False:
            draft.lost(timer.shown(), "qsup cannot leave this timer out")
        case _:
            draft.lost(timer.shown(), "qsup has no settings for this timer")
            timer.settle()


def _ends(draft: Draft, domain: Element) -> None:
    for name, (cause, reactions) in ENDS.items():
        if (element := domain.child(name)) is None:
            continue
        draft.here = at(element)
        if element.text in reactions:
            draft.set("restart", "on", cause, to=reactions[element.text])
        else:
            draft.lost(f"<{name}>{element.text}</{name}>", f"qsup has no such reaction to {cause}")
    crash = domain.child("on_crash")
    devices = domain.child("devices")
    reaction = crash.text if crash is not None else ""
    if crash is None or devices is None or not any(one.name == "panic" for one in devices.below()):
        return
    draft.here = at(crash)
    if reaction.startswith("coredump"):
        draft.lost(f"<on_crash>{reaction}</on_crash>", "qsup writes no core dumps of guests by itself")
    draft.set("restart", "on", "guest-panic", to=CRASH.get(reaction))


def _power(draft: Draft, domain: Element) -> None:
    machine = str(draft.get("machine", "type") or "")
    chip = "ICH9-LPC" if "q35" in machine else "PIIX4_PM"
    for name, prop in (("suspend-to-mem", "disable_s3"), ("suspend-to-disk", "disable_s4")):
        element = domain.child("pm", name)
        enabled = switch(element, "enabled")
        if element is not None and enabled is not None:
            draft.here = at(element)
            draft.pass_on(element.shown(), ["-global", f"{chip}.{prop}={int(not enabled)}"])


SMBIOS: Final = {
    "system": {
        "manufacturer": "manufacturer",
        "product": "product",
        "version": "version",
        "serial": "serial",
        "sku": "sku",
        "family": "family",
    },
    "bios": {
        "vendor": "bios-vendor",
        "version": "bios-version",
        "date": "bios-date",
        "release": "bios-release",
    },
    "baseBoard": {
        "manufacturer": "board-manufacturer",
        "product": "board-product",
        "version": "board-version",
        "serial": "board-serial",
        "asset": "board-asset",
        "location": "board-location",
    },
    "chassis": {
        "manufacturer": "chassis-manufacturer",
        "version": "chassis-version",
        "serial": "chassis-serial",
        "asset": "chassis-asset",
        "sku": "chassis-sku",
    },
}


def _extras(draft: Draft, domain: Element) -> None:
    mode = domain.child("os", "smbios")
    used = mode.get("mode") if mode is not None else None
    if mode is not None and used == "host":
        draft.here = at(mode)
        draft.lost(mode.shown(), "name in [smbios] what the guest is to see of the host's")
    for info in domain.children("sysinfo"):
        if info.get("type") == "fwcfg":
            _fw_cfg(draft, info)
        elif used == "sysinfo":
            _smbios(draft, info)
        else:
            info.settle()
    for arg in _all(domain, "qemu:commandline", "qemu:arg"):
        arg.get("value")
    command = domain.child("qemu:commandline")
    if command is not None:
        draft.here = at(command)
        args = [arg.get("value") or "" for arg in command.children("qemu:arg")]
        if args:
            draft.pass_on("qemu:commandline", args)
        for env in command.children("qemu:env"):
            draft.here = at(env)
            draft.lost(env.shown(), "qsup starts QEMU with an environment of its own")
            env.settle()


def _fw_cfg(draft: Draft, info: Element) -> None:
    for entry in info.children("entry"):
        draft.here = at(entry)
        name = entry.get("name") or ""
        file = entry.get("file")
        key = name.rpartition("/")[2]
        draft.add("fw-cfg", key, {"name": name, "file": file, "text": None if file else entry.text})


def _smbios(draft: Draft, info: Element) -> None:
    seen: set[str] = set()
    for part in info.children():
        draft.here = at(part)
        if part.name == "oemStrings":
            for entry in part.children("entry"):
                draft.append("smbios", "oem-strings", value=entry.text)
            continue
        known = SMBIOS.get(part.name)
        if known is None or part.name in seen:
            draft.lost(part.shown(), "of this table qsup has one, or none")
            part.settle()
            continue
        seen.add(part.name)
        for entry in part.children("entry"):
            draft.here = at(entry)
            name = entry.get("name") or ""
            if part.name == "system" and name == "uuid":
                entry.settle()
            elif name in known:
                draft.set("smbios", known[name], to=entry.text)
            else:
                draft.lost(entry.shown(), "QEMU has no such field")
                entry.settle()


def _all(root: Element, *path: str) -> list[Element]:
    """All elements of the last name below the first elements of the names before it."""
    above = root.child(*path[:-1])
    return above.children(path[-1]) if above is not None else []
