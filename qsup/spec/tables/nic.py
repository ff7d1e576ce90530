"""Network cards. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.address import ENDPOINT, Endpoint, ipv4_trouble, port_trouble
from qsup.spec.base import TEXT, Finding, HostPath, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAC: Final = form(
    r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$(?!\n)",
    'write six pairs of hexadecimal digits in lower case, the first even: "52:54:00:12:34:56"',
)
INTERFACE: Final = form(
    r"^[A-Za-z0-9_.-]{1,15}$(?!\n)", "an interface's name is up to 15 letters, digits, or any of _ . -"
)
FORWARD: Final = form(
    r"^(tcp|udp):([0-9.]+)?:[0-9]{1,5}:[0-9]{1,5}$(?!\n)",
    'write "tcp:127.0.0.1:8080:80": tcp or udp, host address or nothing, host port, guest port',
)
NETWORK: Final = form(
    r"^[0-9.]{7,15}/[0-9]{1,2}$(?!\n)", 'write "10.0.2.0/24": the first address and the bits of the mask'
)
HOST_NAME: Final = form(
    r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$(?!\n)",
    "a host name is up to 63 letters, digits or hyphens, with no hyphen at its ends",
)
USUAL_NETWORK: Final = "10.0.2.0/24"
"""The network of a user NIC that says nothing."""
BOOTFILE_BYTES: Final = 127
"""What the field of BOOTP has room for; QEMU dies of more."""


class NicType(StrEnum):
    """What a NIC is connected to."""

    USER = "user"
    TAP = "tap"
    BRIDGE = "bridge"
    SOCKET = "socket"
    VHOST_USER = "vhost-user"
    PASST = "passt"


class NicModel(StrEnum):
    """The network card that the guest sees."""

    VIRTIO_NET = "virtio-net"
    E1000 = "e1000"
    E1000E = "e1000e"
    RTL8139 = "rtl8139"
    VMXNET3 = "vmxnet3"
    PCNET = "pcnet"
    NE2K_PCI = "ne2k_pci"


_BELONGS: Final[Mapping[str, tuple[NicType, ...]]] = {
    "queues": (NicType.TAP, NicType.VHOST_USER),
    "forward": (NicType.USER, NicType.PASST),
    "network": (NicType.USER,),
    "hostname": (NicType.USER,),
    "restrict": (NicType.USER,),
    "dns": (NicType.USER,),
    "tftp": (NicType.USER,),
    "bootfile": (NicType.USER,),
    "interface": (NicType.TAP, NicType.PASST),
    "vhost": (NicType.TAP,),
    "bridge": (NicType.BRIDGE,),
    "helper": (NicType.BRIDGE,),
    "listen": (NicType.SOCKET,),
    "connect": (NicType.SOCKET,),
    "multicast": (NicType.SOCKET,),
    "socket": (NicType.VHOST_USER,),
}
"""Keys that only some types of NIC have."""
_NEEDS: Final[Mapping[NicType, str]] = {
    NicType.TAP: "interface",
    NicType.BRIDGE: "bridge",
    NicType.VHOST_USER: "socket",
}
"""The key without which a type makes no sense."""


class Nic(Section, frozen=True, kw_only=True):
    """A network card: `[nic.ID]`."""

    type: Annotated[
        NicType,
        about(
            "`user`: QEMU's own NAT; `tap`: a tap interface that exists; `bridge`: a tap made by QEMU's bridge helper; `socket`: other QEMUs, over the host's network; `vhost-user`: a switch in another process; `passt`: the host's network without privileges, by the helper process passt, faster than `user`.",
            qemu="-netdev TYPE",
        ),
    ] = NicType.USER
    model: Annotated[NicModel, about("The card that the guest sees.", qemu="-device DRIVER")] = (
        NicModel.VIRTIO_NET
    )
    mac: Annotated[
        Annotated[str, MAC] | None,
        about(
            "The MAC address, in lower case. Without it one is derived from the guest's name and the NIC's id, so it stays the same.",
            qemu="-device DRIVER,mac=",
        ),
    ] = None
    queues: Annotated[
        int,
        about(
            "How many queues a virtio card has in each direction, at best one for each vCPU. For `tap` (its interface made with `multi_queue`) and `vhost-user`.",
            qemu="-netdev tap,queues= -device virtio-net-pci,mq=,vectors=",
            ge=1,
            le=256,
        ),
    ] = 1
    mtu: Annotated[
        Annotated[int, Meta(ge=68, le=65535)] | None,
        about(
            "The MTU that a virtio card tells the guest; the interface of the host has its own.",
            qemu="-device virtio-net-pci,host_mtu=",
        ),
    ] = None
    link: Annotated[
        bool,
        about("Whether the cable is plugged in as the guest starts.", qemu="set_link"),
    ] = True
    forward: Annotated[
        tuple[Annotated[str, FORWARD], ...],
        about(
            "For `user` and `passt`: `PROTOCOL:HOST-ADDRESS:HOST-PORT:GUEST-PORT`, say `tcp:127.0.0.1:8080:80`.",
            qemu="-netdev user,hostfwd=; passt --tcp-ports, --udp-ports",
            max_length=256,
        ),
    ] = ()
    network: Annotated[
        Annotated[str, NETWORK] | None,
        about(f"For `user`: the network that the guest is in; `{USUAL_NETWORK}`.", qemu="-netdev user,net="),
    ] = None
    hostname: Annotated[
        Annotated[str, HOST_NAME] | None,
        about("For `user`: the name that the guest gets by DHCP.", qemu="-netdev user,hostname="),
    ] = None
    restrict: Annotated[
        bool,
        about(
            "For `user`: the guest reaches neither the host nor other networks; what is forwarded still reaches it.",
            qemu="-netdev user,restrict=",
        ),
    ] = False
    dns: Annotated[
        Annotated[str, form(r"^[0-9.]{7,15}$(?!\n)", "write an IPv4 address")] | None,
        about(
            "For `user`: the name server that the guest is told. Without it one in `network`, which asks the host's resolver.",
            qemu="-netdev user,dns=",
        ),
    ] = None
    tftp: Annotated[
        HostPath | None,
        about(
            "For `user`: a directory that the guest can read by TFTP, to be booted from.",
            qemu="-netdev user,tftp=",
        ),
    ] = None
    bootfile: Annotated[
        Annotated[str, TEXT, Meta(max_length=BOOTFILE_BYTES)] | None,
        about(
            "For `user`: the file that a guest which boots from the network is told of.",
            qemu="-netdev user,bootfile=",
        ),
    ] = None
    interface: Annotated[
        Annotated[str, INTERFACE] | None,
        about(
            "For `tap`: the interface's name. For `passt`: the host's interface whose addresses the guest gets; without it the one with the default route.",
            qemu="-netdev tap,ifname=; passt --interface",
        ),
    ] = None
    vhost: Annotated[
        bool | None,
        about(
            "For `tap` and a virtio card: the kernel moves the packets. Without it where `/dev/vhost-net` can be opened.",
            qemu="-netdev tap,vhost=",
        ),
    ] = None
    bridge: Annotated[
        Annotated[str, INTERFACE] | None,
        about(
            "For `bridge`: the bridge's name; it must be allowed in QEMU's `bridge.conf`.",
            qemu="-netdev bridge,br=",
        ),
    ] = None
    helper: Annotated[
        HostPath | None,
        about(
            "For `bridge`: the path of `qemu-bridge-helper` where it is not the one that QEMU was built with.",
            qemu="-netdev bridge,helper=",
        ),
    ] = None
    listen: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "For `socket`: an address and a TCP port, on which one other QEMU may call; nothing but the address guards it.",
            qemu="-netdev stream,server=on,addr=",
        ),
    ] = None
    connect: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "For `socket`: where another QEMU listens. It should listen first (`after`): a QEMU before 8.0 tries only once.",
            qemu="-netdev stream,server=off,addr=",
        ),
    ] = None
    multicast: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "For `socket`: a multicast group and a UDP port; all QEMUs in the group are on one network.",
            qemu="-netdev dgram,remote=",
        ),
    ] = None
    socket: Annotated[
        HostPath | None,
        about(
            "For `vhost-user`: the socket on which the switch listens for this NIC.",
            qemu="-netdev vhost-user,chardev=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Keys that belong to another type or model of NIC; addresses and ports that are none."""
        yield from self._misplaced()
        yield from self._virtio_only()
        yield from self._user()
        for key in ("listen", "connect", "multicast"):
            endpoint = getattr(self, key)
            if endpoint is not None and (trouble := _endpoint(key, endpoint)):
                yield (key,), trouble

    def _misplaced(self) -> Iterator[Finding]:
        for field, kinds in _BELONGS.items():
            default = 1 if field == "queues" else None
            if self.type not in kinds and getattr(self, field) not in (default, (), False):
                which = " or ".join(f'"{kind}"' for kind in kinds)
                yield (field,), f'belongs to type = {which}, and the type is "{self.type}"'
        needed = _NEEDS.get(self.type)
        if needed is not None and not getattr(self, needed):
            yield (needed,), f'is missing; type = "{self.type}" needs it'
        if self.type is NicType.SOCKET:
            ways = [key for key in ("listen", "connect", "multicast") if getattr(self, key) is not None]
            if not ways:
                yield ("type",), '"socket" needs one of `listen`, `connect` and `multicast`'
            for key in ways[1:]:
                yield (key,), f"cannot stand beside `{ways[0]}`: a NIC has one cable"

    def _virtio_only(self) -> Iterator[Finding]:
        if self.model is NicModel.VIRTIO_NET:
            return
        if self.type is NicType.VHOST_USER:
            yield ("model",), 'type = "vhost-user" needs model = "virtio-net"'
        for key in ("mtu", "vhost"):
            if getattr(self, key):
                yield (key,), f'needs model = "virtio-net", and the model is "{self.model}"'
        if self.queues > 1:
            yield ("queues",), f'only model = "virtio-net" has more than one, and the model is "{self.model}"'

    def _user(self) -> Iterator[Finding]:
        for number, forward in enumerate(self.forward):
            if trouble := _forward(forward):
                yield ("forward", number), trouble
        network, trouble = _network(self.network or USUAL_NETWORK)
        if trouble:
            yield ("network",), f'"{self.network}" is {trouble}'
        if self.dns is not None:
            if trouble := ipv4_trouble(self.dns):
                yield ("dns",), trouble
            elif network is not None and ipaddress.IPv4Address(self.dns) == _gateway(network):
                yield ("dns",), f"{self.dns} is the host in this network; take another address"
        if self.bootfile is not None and len(self.bootfile.encode()) > BOOTFILE_BYTES:
            yield ("bootfile",), f"is longer than {BOOTFILE_BYTES} bytes"


@lru_cache(4096)
def _network(text: str) -> tuple[ipaddress.IPv4Network | None, str | None]:
    """The network that a text names, and what is wrong with it. Most guests have the usual one."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return None, "no network; the address is its first, with no bit set that the mask leaves to hosts"
    served = 8 <= network.prefixlen <= 29
    return network, None if served else "no network that QEMU can serve; masks have 8 to 29 bits"


def _gateway(network: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    """The host's address in the guest's network, as QEMU chooses it."""
    return network.network_address + (0x0202 & int(network.hostmask))


def _forward(forward: str) -> str | None:
    _, address, *ports = forward.split(":")
    troubles = [ipv4_trouble(address) if address else None, *map(port_trouble, ports)]
    return next((trouble for trouble in troubles if trouble), None)


def _endpoint(key: str, text: str) -> str | None:
    endpoint = Endpoint.of(text)
    if trouble := endpoint.trouble:
        return trouble
    if key != "multicast":
        return f"{endpoint.host} is a multicast address" if endpoint.is_multicast else None
    return (
        None
        if endpoint.is_multicast and ":" not in endpoint.host
        else f"{endpoint.host} is no IPv4 multicast address"
    )
