"""Network cards: ``-netdev`` with ``-device``, ``-nic``, ``-net``, and the card that QEMU adds by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qsup.importer.qemu.command import Command, Part
    from qsup.importer.qemu.words import Keys

MODELS: Final = {
    "virtio": "virtio-net",
    "virtio-net": "virtio-net",
    "virtio-net-pci": "virtio-net",
    "virtio-net-pci-transitional": "virtio-net",
    "virtio-net-pci-non-transitional": "virtio-net",
    "virtio-net-device": "virtio-net",
    "e1000": "e1000",
    "e1000-82540em": "e1000",
    "e1000e": "e1000e",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
    "pcnet": "pcnet",
    "ne2k_pci": "ne2k_pci",
}
USER: Final = ("net", "hostname", "restrict", "dns", "tftp", "bootfile")
DEFAULT_BRIDGE: Final = "br0"


def convert(command: Command) -> None:
    """All network cards."""
    for part in command.of(*MODELS):
        command.at(part)
        part.keys.drop("driver", "id")
        command.place(part)
        backend = command.use("netdev", part.keys.take("netdev"))
        card = _card(part.keys, MODELS[part.kind])
        _add(command, part, backend, card)
        command.tell_left(part)
    for part in command.named("nic"):
        command.at(part)
        if part.keys.peek("type") == "none":
            continue
        part.keys.drop("id")
        card = _card(part.keys, _model(command, part.keys.take("model")))
        _add(command, part, part, card)
    _old(command)
    if command.is_bare("net", "nic", "netdev"):
        command.draft.here = "the whole"
        model = "e1000e" if "q35" in str(command.draft.get("machine", "type")) else "e1000"
        command.draft.add("nic", "net0", {"type": "user", "model": model})


def _model(command: Command, model: str | None) -> str:
    if model in MODELS:
        return MODELS[model]
    if model is not None:
        command.draft.lost(f"the card {model}", "qsup has no such card; it is an e1000")
    return "e1000e" if model is None and "q35" in str(command.draft.get("machine", "type")) else "e1000"


def _old(command: Command) -> None:
    """``-net nic`` and ``-net user``: cards and backends that hang together on one hub."""
    parts = command.named("net")
    cards = [part for part in parts if part.keys.peek("type") == "nic"]
    backends = [part for part in parts if part.keys.peek("type") not in ("nic", "none")]
    for part in cards:
        command.at(part)
        part.keys.drop("type", "name", "vlan")
        netdev = command.use("netdev", part.keys.take("netdev"))
        backend = netdev or (backends.pop(0) if backends else None)
        _add(command, part, backend, _card(part.keys, _model(command, part.keys.take("model"))))
        command.tell_left(part)
    for part in backends:
        command.lost(part, "no card is left for it; qsup has no hubs")


def _card(keys: Keys, model: str) -> dict[str, Any]:
    mac = keys.take("mac", "macaddr")
    queues = keys.number("queues")
    if keys.switch("mq"):
        vectors = keys.number("vectors")
        queues = queues or ((vectors - 2) // 2 if vectors else None)
    return {
        "model": model if model != "virtio-net" else None,
        "mac": mac.lower() if mac else None,
        "queues": queues if queues and queues > 1 else None,
        "mtu": keys.number("host_mtu"),
        "boot": keys.number("bootindex"),
    }


def _add(command: Command, part: Part, backend: Part | None, card: dict[str, Any]) -> None:
    draft = command.draft
    place = card.pop("boot")
    if backend is None:
        draft.lost(part.option.shown(), "the card has no backend; it is user networking, with the cable out")
        entry: dict[str, Any] = {"type": "user", "link": False}
    else:
        found = _backend(command, backend)
        if found is None:
            command.lost(backend, "qsup has no such network; the card is left out")
            return
        entry = found
        queues = entry.pop("queues", None)
        card["queues"] = card["queues"] or queues
    if card["model"] is not None and card["model"] != "vmxnet3":
        card["queues"] = None
    name = draft.add("nic", f"net{len(draft.get('nic') or ())}", {**entry, **card})
    command.ids.setdefault("first nic", name)
    if place is not None:
        draft.boot(place, name)
    if backend is not None and backend is not part:
        command.tell_left(backend)
        command.at(part)
    elif backend is part:
        command.tell_left(part)


def _backend(command: Command, part: Part) -> dict[str, Any] | None:
    keys = part.keys
    keys.drop("id", "name", "vlan")
    match keys.take("type"):
        case "user":
            return _user(command, keys)
        case "tap":
            return _tap(command, part)
        case "bridge":
            keys_helper = keys.take("helper")
            return {"type": "bridge", "bridge": keys.take("br") or DEFAULT_BRIDGE, "helper": keys_helper}
        case "socket":
            for key, ours in (("listen", "listen"), ("connect", "connect"), ("mcast", "multicast")):
                if (value := keys.take(key)) is not None:
                    return {"type": "socket", ours: value if value[0] != ":" else f"0.0.0.0{value}"}  # noqa: S104 - as QEMU has it
            return None
        case "stream":
            return _stream(keys)
        case "vhost-user":
            return _vhost_user(command, keys)
    return None


def _user(command: Command, keys: Keys) -> dict[str, Any]:
    forwards = []
    for text in keys.every("hostfwd"):
        host, _, guest = text.partition("-")
        protocol, _, rest = host.partition(":")
        address, _, port = rest.rpartition(":")
        guest_address, _, guest_port = guest.rpartition(":")
        if guest_address:
            command.draft.lost(f"hostfwd={text}", "it goes to the guest's first address")
        forwards.append(f"{protocol or 'tcp'}:{address}:{port}:{guest_port}")
    entry: dict[str, Any] = {"type": "user", "forward": forwards or None}
    for key in USER:
        entry[{"net": "network"}.get(key, key)] = keys.take(key)
    entry["restrict"] = True if entry["restrict"] in ("on", "yes", "y") else None
    keys.drop("ipv4", "ipv6") if keys.peek("ipv6") in (None, "on") and keys.peek("ipv4") in (
        None,
        "on",
    ) else None
    return entry


def _tap(command: Command, part: Part) -> dict[str, Any]:
    keys = part.keys
    keys.drop("vhostfd", "vhostfds", "vhostforce")
    vhost, queues = keys.switch("vhost"), keys.number("queues")
    if (bridge := keys.take("br")) is not None or keys.peek("helper") is not None:
        return {
            "type": "bridge",
            "bridge": bridge or DEFAULT_BRIDGE,
            "helper": keys.take("helper"),
            "vhost": vhost,
        }
    if keys.peek("fd") or keys.peek("fds"):
        keys.drop("fd", "fds")
        command.draft.lost(
            part.option.shown(),
            'its starter made the tap interface; name one with type = "tap". It is user networking now',
        )
        return {"type": "user"}
    for script in ("script", "downscript"):
        value = keys.take(script)
        if value not in (None, "no", ""):
            command.draft.lost(
                f"{script}={value}", "qsup runs no scripts; set the interface up with systemd-networkd"
            )
    name = keys.take("ifname")
    if name is None:
        command.draft.lost(part.option.shown(), "name a tap interface that exists; it is user networking now")
        return {"type": "user"}
    return {"type": "tap", "interface": name, "vhost": vhost, "queues": queues}


def _stream(keys: Keys) -> dict[str, Any] | None:
    server = keys.switch("server")
    kind, host, port = (keys.take(f"addr.{key}") for key in ("type", "host", "port"))
    if kind != "inet":
        return None
    return {"type": "socket", "listen" if server else "connect": f"{host}:{port}"}


def _vhost_user(command: Command, keys: Keys) -> dict[str, Any] | None:
    chardev = command.use("chardev", keys.take("chardev"))
    queues = keys.number("queues")
    if chardev is None or chardev.keys.peek("path") is None or chardev.keys.switch("server"):
        return None
    return {"type": "vhost-user", "socket": chardev.keys.peek("path"), "queues": queues}
