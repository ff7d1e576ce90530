"""The domain as a whole: name, board, clock, what happens at an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt import features, firmware, sysinfo
from qsup.importer.libvirt.words import Reader, at, cpu_flag, number, switch

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
        firmware.convert(draft, os)
    features.convert(draft, domain)
    _clock(draft, domain)
    _ends(draft, domain)
    _power(draft, domain)
    sysinfo.convert(draft, domain)


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
            cpu_flag(draft, "kvmclock", None if present is None else "on" if present else "off")
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
