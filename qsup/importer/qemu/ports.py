"""Serial and parallel ports, virtio consoles and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsup.importer.qemu.command import Command, Part

SERIALS: Final = {
    "isa-serial": "isa",
    "pci-serial": "pci",
    "usb-serial": "usb",
    "virtconsole": "virtio",
}
REACHED: Final = ("stdio", "pty", "vc", "null", "socket-unix", "file", "pipe", "mux", "ringbuf", "console")
"""Backends that the socket and the log of qsup stand for."""
AGENT: Final = "org.qemu.guest_agent.0"
SPICE_AGENT: Final = "com.redhat.spice.0"
CONTROLLERS: Final = ("virtio-serial-pci", "virtio-serial", "virtio-serial-device")


def convert(command: Command) -> None:
    """All ports."""
    for part in command.of(*SERIALS):
        command.at(part)
        backend = command.use("chardev", part.keys.peek("chardev"))
        if backend is None or _kind(backend) in REACHED:
            _add(command, SERIALS[part.kind])
            command.place(part)
            part.keys.drop("driver", "id", "chardev", "index", "iobase", "irq", "nr", "port")
            command.tell_left(part)
        elif part.kind == "virtconsole":
            _on_controller(command, part)
        else:
            backend.used = False
            command.keep(part)
    _serial_options(command)
    for part in command.of("virtserialport"):
        _channel(command, part)
    for part in command.of("isa-parallel"):
        _parallel(command, part)
    for part in command.named("parallel"):
        command.at(part)
        value = part.option.value or ""
        kind, _, path = value.partition(":")
        if value.startswith("/dev/"):
            command.draft.add("parallel", f"lp{len(command.draft.get('parallel') or ())}", {"device": value})
        elif kind == "file":
            command.draft.add("parallel", f"lp{len(command.draft.get('parallel') or ())}", {"file": path})
        elif value != "none":
            command.keep(part)


def _kind(backend: Part) -> str:
    kind = backend.keys.peek("backend") or ""
    if kind == "socket" and backend.keys.peek("path") is not None:
        return "socket-unix"
    return kind


def _add(command: Command, kind: str) -> None:
    draft = command.draft
    number = len(draft.get("serial") or ())
    draft.add("serial", f"serial{number}" if number else "console", {"type": kind if kind != "isa" else None})


def _serial_options(command: Command) -> None:
    parts = command.named("serial")
    for part in parts:
        command.at(part)
        value = part.option.value or ""
        name = value.removeprefix("chardev:")
        backend = command.use("chardev", name) if name != value else None
        kind = _kind(backend) if backend is not None else value.partition(":")[0]
        if value == "none":
            continue
        if kind in (*REACHED, "unix", "mon"):
            _add(command, "isa")
        else:
            if backend is not None:
                backend.used = False
            command.keep(part)
    graphic = command.named("nographic")
    if not parts and not command.draft.get("serial") and (graphic or command.is_bare("serial")):
        command.draft.here = f"word {graphic[0].option.number}" if graphic else "the whole"
        _add(command, "isa")


def _channel(command: Command, part: Part) -> None:
    command.at(part)
    name = part.keys.peek("name")
    backend = command.use("chardev", part.keys.peek("chardev"))
    if name == AGENT:
        command.draft.set("agent", "enabled", to=True)
    elif name == SPICE_AGENT and backend is not None and _kind(backend) == "spicevmc":
        # A guest with a SPICE display has its agent's channel by itself.
        return
    else:
        _on_controller(command, part)


def _on_controller(command: Command, part: Part) -> None:
    """Keep a port of virtio-serial on a controller of its own."""
    backend = command.use("chardev", part.keys.peek("chardev"))
    if backend is not None:
        backend.used = False
    controller = "channels"
    made = any(f'"{controller}"' in word for word in command.draft.get("qemu", "args") or ())
    first = [] if made else ["-device", f"virtio-serial-pci,id={controller}"]
    command.keep(part, first, bus=f"{controller}.0")


def _parallel(command: Command, part: Part) -> None:
    command.at(part)
    backend = command.use("chardev", part.keys.peek("chardev"))
    path = backend.keys.peek("path") if backend is not None else None
    kind = backend.keys.peek("backend") if backend is not None else None
    key = {"parallel": "device", "parport": "device", "file": "file"}.get(kind or "")
    if key is None or path is None:
        if backend is not None:
            backend.used = False
        command.keep(part)
        return
    command.draft.add("parallel", f"lp{len(command.draft.get('parallel') or ())}", {key: path})
