"""Network cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qsup.importer.libvirt.words import Reader, number, switch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

MODELS: Final = {
    "virtio": "virtio-net",
    "virtio-net": "virtio-net",
    "virtio-transitional": "virtio-net",
    "virtio-non-transitional": "virtio-net",
    "e1000": "e1000",
    "e1000-82540em": "e1000",
    "e1000e": "e1000e",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
    "pcnet": "pcnet",
    "ne2k_pci": "ne2k_pci",
}
NETWORKS: Final = {"default": "virbr0"}
"""The bridge that libvirt ships its one network with."""


def convert(draft: Draft, devices: Element, networks: Mapping[str, str]) -> list[str]:
    """The network cards; returns their ids. ``networks`` are the bridges of libvirt's networks, by name."""
    names = []
    for place, interface in enumerate(devices.children("interface")):
        name = _Nic(draft, interface, {**NETWORKS, **networks}, place).convert()
        if name is not None:
            names.append(name)
    return names


class _Nic(Reader):
    """One ``<interface>``."""

    def __init__(self, draft: Draft, interface: Element, networks: Mapping[str, str], place: int) -> None:
        super().__init__(draft, interface)
        self._networks = networks
        self._place = place
        self._source = interface.child("source")

    def convert(self) -> str | None:
        """The id of the card, if there is one now."""
        nic = self.element
        kind = nic.get("type") or "user"
        if kind == "hostdev":
            self._host_device()
            return None
        backend = self._backend(kind)
        if backend is None:
            return None
        entry = {**backend, **self._card()}
        if entry["type"] not in ("tap", "bridge"):
            entry.pop("vhost", None)
        target = nic.child("target")
        if target is not None:
            target.get("dev")
            target.get("managed")
        name = self.draft.add("nic", f"net{self._place}", entry)
        boot = nic.child("boot")
        if boot is not None:
            self.draft.boot(number(boot.get("order")) or 0, name)
        return name

    def _backend(self, kind: str) -> dict[str, Any] | None:
        match kind:
            case "user":
                return self._user()
            case "network":
                return self._network()
            case "bridge":
                bridge = self._source.get("bridge") if self._source is not None else None
                return {"type": "bridge", "bridge": bridge}
            case "ethernet":
                return self._ethernet()
            case "server" | "client" | "mcast":
                return self._socket(kind)
            case "vhostuser":
                return self._vhost_user()
        advice = {
            "direct": 'make a macvtap or a bridge on the host, and name it with type = "tap" or "bridge"'
        }
        self.lost(self.element, advice.get(kind, f"qsup has no interfaces of type {kind!r}"))
        return None

    def _user(self) -> dict[str, Any]:
        backend = self.element.child("backend")
        if backend is None or backend.get("type") != "passt":
            if self._source is not None:
                self._source.get("dev")
            return {"type": "user", **self._network_of_user()}
        entry: dict[str, Any] = {"type": "passt"}
        if self._source is not None:
            entry["interface"] = self._source.get("dev")
        backend.get("logFile")
        forwards = [text for one in self.element.children("portForward") for text in self._forwards(one)]
        return {**entry, "forward": forwards or None}

    def _network_of_user(self) -> dict[str, Any]:
        for ip in self.element.children("ip"):
            if ip.get("family") in (None, "ipv4"):
                return {"network": f"{ip.get('address')}/{ip.get('prefix') or '24'}"}
        return {}

    def _forwards(self, forward: Element) -> list[str]:
        """Forwarding by passt in qsup's words; ranges of ports become single ones as long as they are short."""
        words: list[str] = []
        protocol, address = forward.get("proto") or "tcp", forward.get("address") or ""
        if forward.get("dev"):
            self.draft.lost(forward.shown(), "qsup forwards from an address, not from an interface")
        for one in forward.children("range"):
            start, end, to = (number(one.get(key)) for key in ("start", "end", "to"))
            if switch(one, "exclude"):
                self.lost(one, "qsup has no exceptions from forwarding; name the ports that are forwarded")
                continue
            first, last = start or 0, end or start or 0
            if ":" in address or last - first > 32:
                self.lost(one, "qsup forwards single ports of IPv4 addresses")
                continue
            offset = (to or first) - first
            words += [f"{protocol}:{address}:{port}:{port + offset}" for port in range(first, last + 1)]
        if not words and not forward.children("range"):
            self.lost(forward, "qsup forwards the ports that are named")
        return words

    def _network(self) -> dict[str, Any] | None:
        name = (self._source.get("network") if self._source is not None else None) or ""
        bridge = self._networks.get(name)
        if bridge is None:
            self.draft.lost(
                self.element.shown(),
                f'the network {name!r} is libvirt\'s; name its bridge with type = "bridge". It is user networking now',
            )
            if self._source is not None:
                self._source.settle()
            return {"type": "user"}
        self.draft.differs(
            f"the network {name!r}",
            f"the guest is on its bridge, {bridge}, which libvirt has to go on making",
        )
        return {"type": "bridge", "bridge": bridge}

    def _ethernet(self) -> dict[str, Any] | None:
        target = self.element.child("target")
        device = target.get("dev") if target is not None else None
        if device is None:
            self.lost(self.element, "name a tap interface that exists: qsup makes none, and runs no scripts")
            return None
        return {"type": "tap", "interface": device}

    def _socket(self, kind: str) -> dict[str, Any]:
        source = self._source
        address = (source.get("address") if source is not None else None) or ""
        port = source.get("port") if source is not None else None
        key = {"server": "listen", "client": "connect", "mcast": "multicast"}[kind]
        if source is not None and (local := source.child("local")) is not None:
            self.lost(local, "QEMU chooses the interface itself")
        return {"type": "socket", key: f"{address or '0.0.0.0'}:{port}"}  # noqa: S104 - what the domain says

    def _vhost_user(self) -> dict[str, Any] | None:
        source = self._source
        path, mode = (source.get("path"), source.get("mode")) if source is not None else (None, None)
        if source is not None:
            source.get("type")
            if source.child("reconnect") is not None:
                self.draft.lost("<reconnect>", "QEMU does not come back to a switch that has gone")
                source.settle()
        if path is None or mode == "server":
            self.lost(self.element, "the switch listens and QEMU connects to it; qsup has no other way round")
            return None
        return {"type": "vhost-user", "socket": path}

    def _host_device(self) -> None:
        source = self._source
        address = source.child("address") if source is not None else None
        host = pci_address(address)
        if host is None:
            self.lost(self.element, "name the PCI device under [pci.ID]")
            return
        self.draft.add("pci", f"net{self._place}", {"host": host})
        for name in ("mac", "driver", "model"):
            if (element := self.element.child(name)) is not None:
                if name == "mac":
                    self.draft.lost(
                        element.shown(), "set the MAC address of the virtual function on the host (ip link)"
                    )
                element.settle()
        self.element.get("managed")

    def _card(self) -> dict[str, Any]:
        nic = self.element
        model = self.pick(nic.child("model"), "type", MODELS, "rtl8139")
        driver, link, mtu, mac = (nic.child(name) for name in ("driver", "link", "mtu", "mac"))
        written = nic.child("model")
        if model == "virtio-net" and written is not None and "-" in (written.get("type") or ""):
            self.draft.differs(written.shown(), "virtio cards are transitional on the PCI bus")
        address = mac.get("address") if mac is not None else None
        if mac is not None:
            mac.get("type")
            mac.get("check")
        vhost = None
        if driver is not None and driver.get("name") == "qemu":
            vhost = False
        return {
            "model": model if model != "virtio-net" else None,
            "mac": address.lower() if address else None,
            "queues": number(driver.get("queues")) if driver is not None else None,
            "mtu": number(mtu.get("size")) if mtu is not None else None,
            "link": False if link is not None and link.get("state") == "down" else None,
            "vhost": vhost,
        }


def pci_address(address: Element | None) -> str | None:
    """``0000:01:00.0``; None if it is no address of a PCI device."""
    if address is None or address.get("type") not in (None, "pci"):
        return None
    parts = [number(address.get(name)) for name in ("domain", "bus", "slot", "function")]
    domain, bus, slot, function = (part or 0 for part in parts)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}" if parts[1] is not None else None
