"""Displays, video cards, keyboards, pointers and sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.backends import words
from qsup.importer.libvirt.words import Reader, at, exact, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

SHOWN: Final = ("vnc", "spice", "egl-headless")
VIDEO: Final = {
    "vga": "std",
    "cirrus": "cirrus",
    "qxl": "qxl",
    "virtio": "virtio",
    "bochs": "bochs",
    "ramfb": "ramfb",
    "vmvga": "vmware",
    "none": "none",
}
SECOND: Final = {"qxl": "qxl", "virtio": "virtio-gpu-pci"}
SOUND: Final = {
    "ich6": "hda",
    "ich9": "hda",
    "ac97": "ac97",
    "es1370": "es1370",
    "sb16": "sb16",
    "usb": "usb",
    "virtio": "virtio",
}
BACKENDS: Final = {
    "none": "none",
    "spice": "spice",
    "alsa": "alsa",
    "pulseaudio": "pa",
    "pipewire": "pipewire",
    "file": "wav",
}


def convert(draft: Draft, devices: Element) -> None:
    """What the guest shows, and how it is told what to show."""
    _displays(draft, devices)
    _video(draft, devices)
    _input(draft, devices)
    _sound(draft, devices)


def _displays(draft: Draft, devices: Element) -> None:
    graphics = devices.children("graphics")
    chosen: Element | None = None
    for one in sorted(graphics, key=lambda one: one.peek("type") == "egl-headless"):
        reader = Reader(draft, one)
        kind = one.get("type") or ""
        if kind not in SHOWN:
            reader.lost(one, "a daemon's guest has no window; watch it over VNC or SPICE")
        elif chosen is None:
            chosen = one
            _display(draft, one, kind)
        elif kind == "egl-headless":
            draft.set("display", "gl", to=True)
            _render_node(draft, one)
        else:
            reader.lost(one, f"a guest has one display; it is {chosen.peek('type')}")


def _display(draft: Draft, graphics: Element, kind: str) -> None:
    draft.here = at(graphics)
    draft.set("display", "type", to=kind)
    _render_node(draft, graphics)
    if kind == "egl-headless":
        return
    _listen(draft, graphics, kind)
    if graphics.get("passwd") is not None:
        name = f"/etc/qsup/secrets/{draft.name}-{kind}"
        draft.set("display", "password-file", to=name)
        draft.lost("the display's password", f"it is not copied; write it to {name}")
        graphics.get("passwdValidTo")
        if graphics.get("connected") not in (None, "keep"):
            draft.lost("connected=", "who is connected stays so as the password changes")
    graphics.get("autoport")
    _details(draft, graphics, kind)


def _listen(draft: Draft, graphics: Element, kind: str) -> None:
    listens = graphics.children("listen")
    socket = graphics.get("socket") or next(
        (one for one in listens if one.peek("type") in ("socket", "none")), None
    )
    port = number(graphics.get("port"))
    secure = number(graphics.get("tlsPort"))
    address = next((one.peek("address") for one in listens if one.peek("address")), None) or graphics.get(
        "listen"
    )
    graphics.get("listen")
    for one in listens:
        one.settle()
    if secure is not None and secure > 0:
        draft.lost(
            "tlsPort", "name the directory with the certificates in display.tls; the port is then a TLS one"
        )
        port = port if port and port > 0 else secure
    if socket is not None:
        if isinstance(socket, str):
            draft.differs(
                f"the socket {socket}",
                "the socket is in the guest's run directory; `qsup status` tells where",
            )
    elif port is not None and port > 0:
        draft.set("display", "address", to=address or "127.0.0.1")
        draft.set("display", "port", to=port)
    else:
        draft.differs(
            f"a {kind.upper()} port chosen at each start",
            "without display.port it is a socket in the guest's run directory; `qsup status` tells where",
        )


def _details(draft: Draft, graphics: Element, kind: str) -> None:
    if graphics.get("keymap"):
        draft.pass_on("the keymap", ["-k", graphics.get("keymap") or ""])
    if kind == "vnc":
        policy = graphics.get("sharePolicy")
        if policy is not None:
            draft.lost(f"sharePolicy='{policy}'", "QEMU's own policy holds: allow-exclusive")
        if number(graphics.get("websocket")) is not None:
            draft.lost("websocket", "qsup serves VNC without WebSockets")
        if switch(graphics, "powerControl"):
            draft.lost("powerControl='yes'", "VNC clients cannot power the guest off; use qsup")
    elif kind == "spice":
        _spice(draft, graphics)


SPICE: Final = {
    ("image", "compression"): "image-compression",
    ("jpeg", "compression"): "jpeg-wan-compression",
    ("zlib", "compression"): "zlib-glz-wan-compression",
    ("playback", "compression"): "playback-compression",
    ("streaming", "mode"): "streaming-video",
    ("mouse", "mode"): "agent-mouse",
    ("clipboard", "copypaste"): "disable-copy-paste",
    ("filetransfer", "enable"): "disable-agent-file-xfer",
}
_SPICE_VALUES: Final = {
    "agent-mouse": {"server": "off", "client": "on"},
    "disable-copy-paste": {"no": "on"},
    "disable-agent-file-xfer": {"no": "on"},
}


def _spice(draft: Draft, graphics: Element) -> None:
    """SPICE's own settings; QEMU merges all ``-spice`` into one."""
    found: dict[str, str] = {}
    mode = graphics.get("defaultMode")
    if mode == "secure":
        draft.lost("defaultMode='secure'", "with display.tls all channels are encrypted, without it none")
    for (name, attribute), option in SPICE.items():
        element = graphics.child(name)
        value = element.get(attribute) if element is not None else None
        if value is not None:
            value = _SPICE_VALUES[option].get(value) if option in _SPICE_VALUES else value
        if value is not None:
            found[option] = value
    if found:
        draft.pass_on("settings of SPICE", ["-spice", words(found)])
    secure = [one.get("name") or "" for one in graphics.children("channel") if one.get("mode") == "secure"]
    if secure:
        draft.lost(
            f"encrypted channels ({', '.join(secure)})",
            "with display.tls all channels are encrypted, without it none",
        )


def _render_node(draft: Draft, graphics: Element) -> None:
    gl = graphics.child("gl")
    if gl is None:
        return
    draft.here = at(gl)
    enabled = switch(gl, "enable")
    if enabled:
        draft.set("display", "gl", to=True)
    node = gl.get("rendernode")
    if node is not None and (enabled or graphics.peek("type") == "egl-headless"):
        draft.set("display", "render-node", to=node)


def _video(draft: Draft, devices: Element) -> None:
    videos = devices.children("video")
    chosen = next((one for one in videos if (m := one.child("model")) and m.peek("primary") == "yes"), None)
    chosen = chosen or next(iter(videos), None)
    if chosen is None and draft.get("display", "type"):
        draft.here = at(devices)
        draft.set("video", "type", to="std")
    for video in videos:
        reader = Reader(draft, video)
        model = video.child("model")
        if video is not chosen or model is None:
            _second_card(reader, video, model)
            continue
        kind = reader.pick(model, "type", VIDEO)
        driver = video.child("driver")
        if driver is not None and driver.get("name") == "vhostuser":
            reader.lost(driver, "the video card is QEMU's own")
        _card(draft, model, kind)


def _second_card(reader: Reader, video: Element, model: Element | None) -> None:
    driver = SECOND.get(model.get("type") or "") if model is not None else None
    if driver is None:
        reader.lost(video, "a guest has one video card")
        return
    reader.draft.pass_on(video.shown(), ["-device", driver])
    video.settle()


def _card(draft: Draft, model: Element, kind: str | None) -> None:
    draft.here = at(model)
    speed, resolution = model.child("acceleration"), model.child("resolution")
    if kind == "virtio" and speed is not None and switch(speed, "accel3d"):
        kind = "virtio-gl"
    if speed is not None:
        speed.settle()
    draft.set("video", "type", to=kind)
    # Of qxl `vram` is another memory, beside that of the picture.
    picture = model.get("vgamem") if kind == "qxl" else model.get("vram")
    vram, heads = number(picture), number(model.get("heads"))
    for key in ("ram", "vram", "vram64", "vgamem", "primary", "blob", "edid"):
        model.get(key)
    if vram and kind in ("std", "qxl", "bochs", "vmware"):
        draft.set("video", "memory", to=exact(1 << (max(vram << 10, 1 << 20) - 1).bit_length()))
    if heads and heads > 1:
        draft.set("video", "heads", to=heads)
    if resolution is not None:
        draft.set("video", "resolution", to=f"{resolution.get('x')}x{resolution.get('y')}")


def _input(draft: Draft, devices: Element) -> None:
    chosen: dict[str, str] = {}
    for one in devices.children("input"):
        reader = Reader(draft, one)
        kind, bus = one.get("type") or "", one.get("bus")
        key = {"keyboard": "keyboard", "tablet": "pointer", "mouse": "pointer"}.get(kind)
        if kind in ("passthrough", "evdev"):
            _evdev(reader, one, kind)
            continue
        bus = bus or ("usb" if kind == "tablet" else "ps2")
        value = bus if key == "keyboard" or bus == "ps2" else f"{bus}-{kind}"
        if key is None or bus not in ("ps2", "usb", "virtio"):
            reader.lost(one, "qsup knows keyboards, mice and tablets of its own making")
            continue
        one.get("model")
        before = chosen.get(key)
        if before is None or before == "ps2":
            chosen[key] = value
            draft.set("input", key, to=value)
        elif value != "ps2" and (bus == "virtio" or before.startswith("usb")):
            device = (
                f"virtio-{kind}-pci"
                if bus == "virtio"
                else "usb-kbd"
                if kind == "keyboard"
                else f"usb-{kind}"
            )
            draft.pass_on(one.shown(), ["-device", device])
            one.settle()
        elif value != "ps2":
            reader.lost(one, f"a guest has one {key}, and the PS/2 ones")
    if "pointer" not in chosen and draft.get("display", "type"):
        draft.here = at(devices)
        draft.set("input", "pointer", to="ps2")


def _evdev(reader: Reader, one: Element, kind: str) -> None:
    """An input device of the host."""
    source = one.child("source")
    path = (source.get("evdev") or source.get("dev")) if source is not None else None
    if not path:
        reader.lost(one, "it names no device of the host")
        return
    number = sum("evdev=" in arg for arg in reader.draft.get("qemu", "args") or ())
    if kind == "passthrough":
        args = ["-device", words({"driver": "virtio-input-host-pci", "evdev": path})]
    else:
        more = {"grab_all": "on"} if source is not None and source.has("grab", "all") else {}
        if source is not None and switch(source, "repeat"):
            more["repeat"] = "on"
        if source is not None and (toggle := source.get("grabToggle")):
            more["grab-toggle"] = toggle
        args = ["-object", words({"qom-type": "input-linux", "id": f"evdev{number}", "evdev": path, **more})]
    reader.draft.pass_on(one.shown(), args)
    one.settle()


def _sound(draft: Draft, devices: Element) -> None:
    sounds, audios = devices.children("sound"), devices.children("audio")
    backend = audios[0] if audios else None
    for index, sound in enumerate(sounds):
        reader = Reader(draft, sound)
        if index:
            reader.lost(sound, "a guest has one sound card")
            continue
        draft.set("sound", "model", to=reader.pick(sound, "model", SOUND))
        chosen = sound.child("audio")
        wanted = chosen.get("id") if chosen is not None else None
        backend = next((one for one in audios if one.peek("id") == wanted), backend)
        for codec in sound.children("codec"):
            if codec.get("type") not in (None, "duplex"):
                draft.lost(codec.shown(), "the codec is QEMU's hda-duplex")
        if switch(sound, "multichannel"):
            draft.lost(sound.shown(), "the card has QEMU's own channels")
    if draft.get("sound", "model"):
        _backend(draft, backend)


def _backend(draft: Draft, audio: Element | None) -> None:
    """Without `<audio>` libvirt chooses as qsup does."""
    if audio is None:
        return
    reader = Reader(draft, audio)
    kind = reader.pick(audio, "type", BACKENDS, "none")
    server = _server(audio, kind)
    if kind in ("pa", "pipewire") and server is None:
        draft.lost(audio.shown(), "name the socket of the sound server: sound.server")
        kind = "none"
    draft.set("sound", "backend", to=kind)
    draft.set("sound", "server", to=server)
    if kind == "wav":
        draft.set("sound", "file", to=audio.get("path"))
    if audio.children("input", "output") or audio.get("timerPeriod"):
        draft.differs(audio.shown(), "QEMU's own settings of the backend hold")


def _server(audio: Element, kind: str | None) -> str | None:
    """The socket of PulseAudio's or PipeWire's server, if the domain tells where it is."""
    name, directory = audio.get("serverName"), audio.get("runtimeDir")
    if kind == "pa" and name is not None and name.removeprefix("unix:").startswith("/"):
        return name.removeprefix("unix:")
    if kind == "pipewire" and directory is not None:
        return f"{directory}/pipewire-0"
    return None
