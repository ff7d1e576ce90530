"""Displays, video cards, keyboards, pointers and sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.quote import comma
from qsup.importer.qemu.board import size
from qsup.units import Size

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.qemu.command import Command, Part
    from qsup.importer.qemu.words import Keys

VGA: Final = {
    "std": "std",
    "cirrus": "cirrus",
    "qxl": "qxl",
    "virtio": "virtio",
    "vmware": "vmware",
    "none": "none",
}
CARDS: Final = {
    "VGA": "std",
    "cirrus-vga": "cirrus",
    "qxl-vga": "qxl",
    "virtio-vga": "virtio",
    "virtio-gpu-pci": "virtio",
    "virtio-vga-gl": "virtio-gl",
    "virtio-gpu-gl-pci": "virtio-gl",
    "bochs-display": "bochs",
    "ramfb": "ramfb",
    "vmware-svga": "vmware",
}
INPUTS: Final = {
    "usb-kbd": ("keyboard", "usb"),
    "virtio-keyboard-pci": ("keyboard", "virtio"),
    "usb-tablet": ("pointer", "usb-tablet"),
    "usb-mouse": ("pointer", "usb-mouse"),
    "virtio-tablet-pci": ("pointer", "virtio-tablet"),
    "virtio-mouse-pci": ("pointer", "virtio-mouse"),
}
SOUND: Final = {
    "intel-hda": "hda",
    "ich9-intel-hda": "hda",
    "AC97": "ac97",
    "ES1370": "es1370",
    "sb16": "sb16",
    "usb-audio": "usb",
    "virtio-sound-pci": "virtio",
    "virtio-sound": "virtio",
}
CODECS: Final = ("hda-duplex", "hda-micro", "hda-output")
BACKENDS: Final = {
    "none": "none",
    "spice": "spice",
    "alsa": "alsa",
    "pa": "pa",
    "pipewire": "pipewire",
    "wav": "wav",
}
WINDOWS: Final = ("gtk", "sdl", "curses", "cocoa", "spice-app", "dbus")
OLD_CARDS: Final = {"hda": "hda", "intel-hda": "hda", "ac97": "ac97", "es1370": "es1370", "sb16": "sb16"}


def convert(command: Command) -> None:
    """What the guest shows, and how it is told what to show."""
    _display(command)
    _video(command)
    _input(command)
    _sound(command)


def _display(command: Command) -> None:
    draft = command.draft
    for part in command.named("vnc"):
        command.at(part)
        _vnc(command, part, part.keys.take("vnc") or "")
        command.tell_left(part)
    for part in command.named("spice"):
        _spice(command, part)
    for part in command.named("display", "sdl", "curses"):
        command.at(part)
        kind = part.keys.take("type") or part.option.name
        if kind.startswith("vnc="):
            kind, value = "vnc", kind.removeprefix("vnc=")
            _vnc(command, part, value)
        elif (value_ := part.keys.take("vnc")) is not None:
            kind = "vnc"
            _vnc(command, part, value_)
        elif kind == "egl-headless":
            draft.set("display", "type", to=draft.get("display", "type") or kind)
            if draft.get("display", "type") != kind:
                draft.set("display", "gl", to=True)
            draft.set("display", "render-node", to=part.keys.take("rendernode"))
        elif kind in WINDOWS:
            _window(command, part.option.shown())
            part.keys.drop(*part.keys.all())
        elif kind not in ("none", "vnc"):
            command.lost(part, "qsup has no such display")
        if kind == "none" and part.keys.switch("gl"):
            draft.lost(part.option.shown(), "there is nothing to draw on")
        command.tell_left(part)
    if command.is_bare("display", "vnc", "spice", "nographic", "sdl", "curses"):
        draft.here = "the whole"
        _window(command, "a window on the screen")
    for part in command.named("k"):
        command.keep(part)


def _window(command: Command, what: str) -> None:
    command.draft.differs(what, "a daemon's guest has no window; it is served over VNC on a Unix socket")
    if command.draft.get("display", "type") is None:
        command.draft.set("display", "type", to="vnc")


def _vnc(command: Command, part: Part, where: str) -> None:
    draft, keys = command.draft, part.keys
    if draft.get("display", "type") not in (None, "vnc"):
        command.lost(part, "a guest has one display")
        return
    if where == "none":
        return
    draft.set("display", "type", to="vnc")
    host, colon, number = where.rpartition(":")
    if where.startswith("unix:"):
        draft.differs(
            f"the socket {where[5:]}", "the socket is in the guest's run directory; `qsup status` tells where"
        )
    elif colon and number.isdecimal():
        draft.set("display", "address", to=host.strip("[]") or "0.0.0.0")  # noqa: S104 - what the words say
        draft.set("display", "port", to=5900 + int(number[:6]))
    _security(command, keys)
    keys.drop("audiodev", "share" if keys.peek("share") == "allow-exclusive" else "audiodev")
    if keys.switch("power-control"):
        draft.lost("power-control=on", "VNC clients cannot power the guest off; use qsup")


def _security(command: Command, keys: Keys) -> None:
    """Password and certificates of a VNC display."""
    draft = command.draft
    if keys.switch("password") or keys.take("password-secret"):
        name = f"/etc/qsup/secrets/{draft.name}-vnc"
        draft.set("display", "password-file", to=name)
        draft.lost("the display's password", f"it is not copied; write it to {name}")
    credentials = command.use("object", keys.take("tls-creds"))
    if credentials is not None:
        draft.set("display", "tls", to=credentials.keys.peek("dir"))
        if credentials.keys.peek("verify-peer") == "on":
            draft.set("display", "tls-verify", to=True)
        if credentials.kind != "tls-creds-x509":
            draft.lost(credentials.option.shown(), "TLS is with certificates")


def _spice(command: Command, part: Part) -> None:
    command.at(part)
    draft, keys = command.draft, part.keys
    if draft.get("display", "type") not in (None, "spice"):
        command.lost(part, "a guest has one display")
        return
    draft.set("display", "type", to="spice")
    port, tls_port, address = keys.number("port"), keys.number("tls-port"), keys.take("addr")
    unix = keys.switch("unix")
    if unix:
        draft.differs(
            f"the socket {address}", "the socket is in the guest's run directory; `qsup status` tells where"
        )
    elif port or tls_port:
        draft.set("display", "address", to=address or "0.0.0.0")  # noqa: S104 - what the words say
        draft.set("display", "port", to=tls_port or port)
        if port and tls_port:
            draft.lost(f"port={port}", "with display.tls the port is a TLS one")
    draft.set("display", "tls", to=keys.take("x509-dir"))
    keys.drop("x509-key-file", "x509-cert-file", "x509-cacert-file", "seamless-migration")
    _spice_password(draft, keys)
    if keys.switch("gl"):
        draft.set("display", "gl", to=True)
    draft.set("display", "render-node", to=keys.take("rendernode"))
    for key in ("tls-channel", "plaintext-channel"):
        if channels := keys.every(key):
            tell = draft.differs if draft.get("display", "tls") else draft.lost
            tell(
                f"{key}={', '.join(channels)}", "with display.tls all channels are encrypted, without it none"
            )
    if keys.switch("sasl"):
        draft.lost("sasl=on", "qsup knows passwords and TLS")
    left = keys.left()
    if left:
        words = ",".join(f"{key}={comma(value)}" for key, value in left.items())
        draft.pass_on("settings of SPICE", ["-spice", words])


def _spice_password(draft: Draft, keys: Keys) -> None:
    """Without a password, and without being told so, QEMU's SPICE lets nobody in until it gets one."""
    given = keys.take("password-secret", "password")
    if keys.switch("disable-ticketing") or (given is None and keys.peek("sasl") is not None):
        return
    name = f"/etc/qsup/secrets/{draft.name}-spice"
    draft.set("display", "password-file", to=name)
    draft.lost("the display's password", f"it is not copied; write it to {name}")


def _video(command: Command) -> None:
    draft = command.draft
    for part in command.named("vga"):
        command.at(part)
        kind = part.option.value or ""
        if kind in VGA:
            draft.set("video", "type", to=VGA[kind])
        else:
            command.lost(part, "qsup has no such video card")
    for part in command.of(*CARDS):
        command.at(part)
        if draft.get("video", "type") not in (None, "none"):
            if part.kind.endswith("-vga"):
                command.lost(part, "a guest has one video card")
            else:
                command.keep(part)
            continue
        _card(command, part)
    if draft.get("video", "type") is None and draft.get("display", "type"):
        draft.here = "the whole"
        draft.set("video", "type", to="std" if command.is_bare("vga") else "none")


def _card(command: Command, part: Part) -> None:
    draft, keys = command.draft, part.keys
    kind = CARDS[part.kind]
    draft.set("video", "type", to=kind)
    keys.drop("driver", "id")
    command.place(part)
    memory = size(keys.take("vgamem_mb")) or size(keys.take("vgamem"), "b")
    keys.drop("ram_size", "vram_size", "vram64_size_mb", "ram_size_mb", "vram_size_mb", "edid", "blob")
    draft.set("video", "memory", to=str(Size(memory)) if memory else None)
    heads = keys.number("max_outputs")
    draft.set("video", "heads", to=heads if heads and heads > 1 else None)
    width, height = keys.peek("xres"), keys.peek("yres")
    if width and height:
        draft.set("video", "resolution", to=f"{width}x{height}")
        keys.drop("xres", "yres")
    if keys.switch("virgl"):
        draft.set("video", "type", to="virtio-gl")
    command.tell_left(part)


def _input(command: Command) -> None:
    draft = command.draft
    for part in command.of(*INPUTS):
        command.at(part)
        key, value = INPUTS[part.kind]
        if draft.get("input", key) is None:
            draft.set("input", key, to=value)
            command.place(part)
            part.keys.drop("driver", "id", "port", "usb_version", "display", "head")
            command.tell_left(part)
        else:
            command.keep(part)
    for part in command.named("usbdevice"):
        command.at(part)
        key, value = INPUTS.get(f"usb-{part.option.value}", ("", ""))
        if key:
            draft.set("input", key, to=value)
        elif (part.option.value or "").startswith("host:"):
            _usb_host(command, part, (part.option.value or "")[5:])
        else:
            command.lost(part, "qsup has no such USB device")
    if draft.get("display", "type") and draft.get("input", "pointer") is None:
        draft.here = "the whole"
        draft.set("input", "pointer", to="ps2")


def _usb_host(command: Command, part: Part, text: str) -> None:
    vendor, colon, product = text.partition(":")
    bus, dot, address = text.partition(".")
    if colon:
        command.draft.add(
            "usb", "host0", {"vendor": vendor.removeprefix("0x"), "product": product.removeprefix("0x")}
        )
    elif dot and bus.isdecimal() and address.isdecimal():
        command.draft.add("usb", "host0", {"bus": int(bus[:4]), "address": int(address[:4])})
    else:
        command.lost(part, "name the device by vendor and product")


def _sound(command: Command) -> None:
    draft = command.draft
    backend: Part | None = None
    for part in command.of(*SOUND):
        command.at(part)
        if draft.get("sound", "model") is not None:
            command.lost(part, "a guest has one sound card")
            continue
        draft.set("sound", "model", to=SOUND[part.kind])
        backend = command.use("audiodev", part.keys.take("audiodev")) or backend
        command.place(part)
        part.keys.drop("driver", "id", "port", "msi")
        command.tell_left(part)
    for part in command.of(*CODECS):
        command.at(part)
        backend = command.use("audiodev", part.keys.take("audiodev")) or backend
        if part.kind != "hda-duplex":
            command.draft.differs(part.option.shown(), "the codec is QEMU's hda-duplex")
    for part in command.named("soundhw"):
        command.at(part)
        model = OLD_CARDS.get((part.option.value or "").split(",")[0])
        if model is None:
            command.lost(part, "qsup has no such sound card")
        draft.set("sound", "model", to=model)
    for part in command.named("audio"):
        command.at(part)
        draft.set("sound", "model", to=OLD_CARDS.get(part.keys.take("model") or ""))
        backend = part
    if draft.get("sound", "model") is not None:
        _backend(command, backend)


def _backend(command: Command, backend: Part | None) -> None:
    draft = command.draft
    if backend is None:
        draft.set("sound", "backend", to="none")
        return
    command.at(backend)
    keys = backend.keys
    kind = BACKENDS.get(keys.take("driver") or "")
    server = (keys.take("server") or "").removeprefix("unix:") if kind == "pa" else ""
    if kind is None:
        command.lost(backend, "qsup has no such backend for sound")
    elif kind in ("pa", "pipewire") and not server.startswith("/"):
        command.lost(backend, "name the socket of the sound server: sound.server")
        kind = None
    draft.set("sound", "backend", to=kind or "none")
    draft.set("sound", "server", to=server if kind == "pa" else None)
    draft.set("sound", "file", to=keys.take("path") if kind == "wav" else None)
    keys.drop("id", "model")
    if kind is not None and keys.left():
        draft.differs(backend.option.shown(), "QEMU's own settings of the backend hold")
