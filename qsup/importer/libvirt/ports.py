"""Serial and parallel ports, consoles and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.backends import pass_channel, pass_serial
from qsup.importer.libvirt.words import Reader, at, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

SERIAL_TYPES: Final = {
    "isa-serial": "isa",
    "isa-debug-serial": "isa",
    "pci-serial": "pci",
    "usb-serial": "usb",
    "virtio": "virtio",
}
DRIVERS: Final = {"isa": "isa-serial", "pci": "pci-serial", "usb": "usb-serial"}
AGENT: Final = "org.qemu.guest_agent.0"
SPICE_AGENT: Final = "com.redhat.spice.0"
REACHED: Final = ("pty", "unix", "null", "vc", "stdio", "file", "pipe")
"""Backends that the socket and the log of qsup stand for."""


def convert(draft: Draft, devices: Element) -> None:
    """The ports. The first console is the first serial port once more, if there is one."""
    serials = devices.children("serial")
    consoles = devices.children("console")
    for serial in serials:
        _serial(draft, serial, _serial_type(serial))
    for index, console in enumerate(consoles):
        target = console.child("target")
        kind = (target.get("type") if target is not None else None) or "serial"
        if kind == "serial":
            if index == 0 and serials:
                console.settle()
            elif index == 0:
                _serial(draft, console, "isa")
            else:
                Reader(draft, console).lost(console, "only the first console is a serial port")
        elif kind == "virtio":
            _serial(draft, console, "virtio")
        else:
            Reader(draft, console).lost(console, f"a PC has no console of type {kind!r}")
    for parallel in devices.children("parallel"):
        _parallel(draft, parallel)
    for channel in devices.children("channel"):
        _channel(draft, channel)


def _serial_type(serial: Element) -> str | None:
    target = serial.child("target")
    if target is None:
        return "isa"
    model = target.child("model")
    name = model.get("name") if model is not None else None
    target.settle()
    return SERIAL_TYPES.get(name or target.get("type") or "isa-serial")


def _serial(draft: Draft, port: Element, kind: str | None) -> None:
    reader = Reader(draft, port)
    if kind is None:
        reader.lost(port, "qsup has no serial port of this kind")
        return
    backend = port.get("type") or "pty"
    if backend not in REACHED:
        if kind in DRIVERS and pass_serial(draft, port, DRIVERS[kind]):
            return
        reader.lost(
            port, "qsup serves the port with `qsup console` and keeps its log; there is no other way to it"
        )
    elif backend in ("unix", "file", "pipe"):
        draft.differs(port.shown(), "the port is reached with `qsup console`, and its log with `qsup log`")
    _backend(port)
    first = draft.get("serial") is None
    draft.add(
        "serial",
        "console" if first else f"serial{len(draft.get('serial'))}",
        {"type": kind if kind != "isa" else None},
    )


def _backend(port: Element) -> None:
    """What libvirt says of the backend is settled with it."""
    for name in ("source", "protocol", "log"):
        for element in port.children(name):
            element.settle()
    port.get("tty")


def _parallel(draft: Draft, port: Element) -> None:
    reader = Reader(draft, port)
    source = port.child("source")
    path = source.get("path") if source is not None else None
    key = {"dev": "device", "file": "file"}.get(port.get("type") or "")
    if key is None or path is None:
        if port.get("type") != "dev" and pass_serial(draft, port, "isa-parallel"):
            return
        reader.lost(
            port, "a parallel port is a device of the host, or a file that what is printed is added to"
        )
        return
    _backend(port)
    draft.add("parallel", f"lp{len(draft.get('parallel') or ())}", {key: path})


def _channel(draft: Draft, channel: Element) -> None:
    reader = Reader(draft, channel)
    target = channel.child("target")
    name = (target.get("name") if target is not None else None) or ""
    kind = target.get("type") if target is not None else None
    draft.here = at(channel)
    if kind == "virtio" and name == AGENT:
        draft.set("agent", "enabled", to=True)
        channel.get("type")
        _backend(channel)
    elif kind == "virtio" and (name == SPICE_AGENT or channel.get("type") == "spicevmc"):
        # A guest with a SPICE display has its agent's channel by itself; without one nobody is at the other end.
        channel.settle()
    elif channel.get("type") == "qemu-vdagent":
        _vdagent(draft, channel, name)
    elif kind == "virtio" and pass_channel(draft, channel, name):
        pass
    else:
        reader.lost(channel, "of channels qsup knows the guest agent's and SPICE's")


def _vdagent(draft: Draft, channel: Element, name: str) -> None:
    source = channel.child("source")
    mouse = source.child("mouse") if source is not None else None
    clipboard = source.child("clipboard") if source is not None else None
    words = ["qemu-vdagent,id=clipboard,name=vdagent"]
    if clipboard is not None:
        words.append(f"clipboard={'on' if switch(clipboard, 'copypaste') else 'off'}")
    if mouse is not None:
        words.append(f"mouse={'on' if mouse.get('mode') == 'client' else 'off'}")
    device = f"virtserialport,chardev=clipboard,name={name or SPICE_AGENT}"
    draft.pass_on(
        channel.shown(),
        [
            "-chardev",
            ",".join(words),
            "-device",
            "virtio-serial-pci,id=vdagents",
            "-device",
            f"{device},bus=vdagents.0",
        ],
    )
    channel.settle()
