"""SMBIOS, fw_cfg, and what the domain hands to QEMU as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.words import at, every

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

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


def convert(draft: Draft, domain: Element) -> None:
    """What the firmware tells of the machine, files for the guest, and arguments for QEMU."""
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
    for arg in every(domain, "qemu:commandline", "qemu:arg"):
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
