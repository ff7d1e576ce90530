"""The firmware, its variables, and what it boots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.importer.libvirt.words import at, every, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element


def convert(draft: Draft, os: Element) -> None:
    """What the machine starts with: `<os>`."""
    _firmware(draft, os)
    _boot(draft, os)


def _firmware(draft: Draft, os: Element) -> None:
    loader, nvram = os.child("loader"), os.child("nvram")
    wanted = {feature.get("name"): switch(feature, "enabled") for feature in every(os, "firmware", "feature")}
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
    for table in every(os, "acpi", "table"):
        draft.here = at(table)
        flag = "sig=SLIC,file" if table.get("type") == "slic" else "file"
        draft.pass_on(table.shown(), ["-acpitable", f"{flag}={table.text.replace(',', ',,')}"])
