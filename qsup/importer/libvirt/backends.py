"""What qsup has no key for and QEMU's own words can say: character devices, and single devices on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.quote import comma
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

CHANNELS: Final = "channels"
"""The id of the virtio-serial controller that channels share."""


def chardev(port: Element, name: str) -> str | None:
    """The value of ``-chardev`` for the backend of a port; None if it cannot be said safely."""
    source = port.child("source")
    kind = port.get("type") or "pty"
    protocol = port.child("protocol")
    path = source.get("path") if source is not None else None
    listens = source is not None and source.get("mode") == "bind"
    match kind:
        case "pty" | "null":
            return f"{kind},id={name}"
        case "unix" if path:
            return _pairs("socket", id=name, path=path) + (
                ",server=on,wait=off" if listens else ",reconnect=1"
            )
        case "file" | "pipe" if path:
            return _pairs(kind, id=name, path=path)
        case "dev" if path:
            return _pairs("serial", id=name, path=path)
        case "tcp" if source is not None and (protocol is None or not protocol.has("tls", "yes")):
            telnet = ",telnet=on" if protocol is not None and protocol.get("type") == "telnet" else ""
            words = {"host": source.get("host") or "127.0.0.1", "port": source.get("service") or "0"}
            mode = ",server=on,wait=off" if listens else ",reconnect=1"
            return _pairs("socket", id=name, **words) + telnet + mode
        case "udp":
            return _udp(port, name)
        case "spiceport" if source is not None:
            return _pairs("spiceport", id=name, name=source.get("channel") or "")
    return None


def _udp(port: Element, name: str) -> str | None:
    words: dict[str, str] = {}
    for source in port.children("source"):
        to = source.get("mode") == "connect"
        host, service = source.get("host"), source.get("service")
        if host:
            words["host" if to else "localaddr"] = host
        if service:
            words["port" if to else "localport"] = service
    return _pairs("udp", id=name, **words) if "port" in words else None


def pass_channel(draft: Draft, channel: Element, name: str) -> bool:
    """Keep a virtio channel; whether it could be kept."""
    number = sum("virtserialport" in arg for arg in draft.get("qemu", "args") or ())
    backend = chardev(channel, f"channel{number}")
    if backend is None:
        return False
    args = [] if number else ["-device", f"virtio-serial-pci,id={CHANNELS}"]
    try:
        device = _pairs("virtserialport", bus=f"{CHANNELS}.0", chardev=f"channel{number}", name=name)
    except SpecError:
        return False
    draft.pass_on(channel.shown(), [*args, "-chardev", backend, "-device", device])
    channel.settle()
    return True


def pass_serial(draft: Draft, port: Element, driver: str) -> bool:
    """Keep a serial or parallel port whose other end is not qsup's; whether it could be kept."""
    number = sum("port-" in arg for arg in draft.get("qemu", "args") or ())
    name = f"port-{number}"
    backend = chardev(port, name)
    if backend is None:
        return False
    draft.pass_on(port.shown(), ["-chardev", backend, "-device", f"{driver},chardev={name}"])
    port.settle()
    return True


def _pairs(first: str, **values: str) -> str:
    return ",".join([first, *(f"{key}={comma(value)}" for key, value in values.items())])


def words(values: Mapping[str, str]) -> str:
    """``key=value,key=value``, each value quoted."""
    return ",".join(f"{key}={comma(value)}" for key, value in values.items())
