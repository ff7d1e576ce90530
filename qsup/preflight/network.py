"""Network cards: ports that others hold, interfaces, bridges and switches that are not there."""

from __future__ import annotations

import os
import socket
from pathlib import Path as File
from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import SOCKETS, Obstacle, unusable
from qsup.probe.vhost import VHOST_NET
from qsup.proc.tap import IFF_MULTI_QUEUE, IFF_TAP
from qsup.spec.address import Endpoint
from qsup.spec.tables.nic import NicType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan
    from qsup.proc.account import Account
    from qsup.spec.base import Path
    from qsup.spec.tables.nic import Nic

INTERFACES: Final = File("/sys/class/net")
"""A directory for each interface (Linux: Documentation/ABI/testing/sysfs-class-net)."""
FIRST_PORT: Final = File("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The lowest port that everybody may listen on (Linux: Documentation/networking/ip-sysctl.rst)."""
IFF_UP: Final = 0x1
"""A flag of an interface (Linux: if.h)."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Each card in the file's order. The ports of a guest that runs are its own."""
    for name, nic in plan.spec.nic.items():
        if not plan.running:
            yield from _ports(name, nic)
        if plan.account is not None:
            yield from _privileged(name, nic, plan.account)
        if nic.tftp is not None and not os.path.isdir(nic.tftp):
            yield Obstacle(("nic", name, "tftp"), f"there is no directory {nic.tftp}")
        if nic.socket is not None:
            yield from unusable(("nic", name, "socket"), nic.socket, SOCKETS)
        yield from _interface(name, nic)
        if nic.vhost and not plan.facts.vhost_net:
            yield Obstacle(
                ("nic", name, "vhost"),
                f"{VHOST_NET} is not there, or not for this user: load the module vhost_net, or leave the key out",
            )


def _ports(name: str, nic: Nic) -> Iterator[Obstacle]:
    for path, protocol, address, port in _listened(name, nic):
        yield from taken(path, protocol, address, port)


def _privileged(name: str, nic: Nic, account: Account) -> Iterator[Obstacle]:
    """Ports that QEMU itself listens on, and that are kept for root; passt listens as the daemon's user."""
    if nic.type is NicType.PASST:
        return
    first = _number(FIRST_PORT)
    for path, _, _, port in _listened(name, nic):
        if 0 < port < first:
            told = f"user {account.name} may not listen on port {port}: ports below {first} are root's"
            yield Obstacle(
                path, f"{told}; take a higher one, or lower the sysctl net.ipv4.ip_unprivileged_port_start"
            )


def _listened(name: str, nic: Nic) -> Iterator[tuple[Path, str, str, int]]:
    """Where a card listens on the host: the key that says so, the protocol, the address and the port."""
    for number, forward in enumerate(nic.forward):
        protocol, address, port, _ = forward.split(":")
        yield ("nic", name, "forward", number), protocol, address, int(port)
    if nic.listen is not None:
        address, port = Endpoint.of(nic.listen)
        yield ("nic", name, "listen"), "tcp", address, int(port)


def taken(path: Path, protocol: str, address: str, port: int) -> Iterator[Obstacle]:
    """A port that cannot be listened on now; ``address`` is IPv4 or IPv6, or empty for all of IPv4."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address or "0.0.0.0", port))  # noqa: S104 - what the guest's file asks for
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            yield Obstacle(path, f"{protocol} port {port} on {address or 'any address'}: {error.strerror}")


def _interface(name: str, nic: Nic) -> Iterator[Obstacle]:
    key, wanted = {
        NicType.TAP: ("interface", nic.interface),
        NicType.BRIDGE: ("bridge", nic.bridge),
    }.get(nic.type, ("", None))
    if wanted is None:
        return
    path, at = ("nic", name, key), INTERFACES / wanted
    if not at.exists():
        yield Obstacle(path, f"there is no interface {wanted}; `ip link` shows those that there are")
        return
    if nic.type is NicType.TAP:
        yield from _tap(path, at, nic)
    elif not (at / "bridge").exists():
        yield Obstacle(path, f"{wanted} is no bridge; `ip link show type bridge` shows those that there are")
    if not _number(at / "flags") & IFF_UP:
        yield Obstacle(path, f"{wanted} is down: `ip link set {wanted} up`", fatal=False)
    if nic.mtu is not None and nic.mtu > (least := _number(at / "mtu")):
        told = f"{wanted} carries packets of {least} bytes, and the guest is told that it may send {nic.mtu}"
        yield Obstacle(("nic", name, "mtu"), told, fatal=False)


def _tap(path: Path, at: File, nic: Nic) -> Iterator[Obstacle]:
    """Linux refuses whoever opens a tap interface in another way than it was made."""
    flags = _number(at / "tun_flags")
    if not flags & IFF_TAP:
        yield Obstacle(path, f"{at.name} is no tap interface; `ip tuntap` shows those that there are")
    elif bool(flags & IFF_MULTI_QUEUE) is not (nic.queues > 1):
        made = "with several queues" if flags & IFF_MULTI_QUEUE else "with one queue"
        command = f"ip tuntap add {at.name} mode tap{' multi_queue' if nic.queues > 1 else ''}"
        yield Obstacle(
            path, f"{at.name} was made {made}, and `queues` is {nic.queues}; `{command}` makes one that fits"
        )


def _number(file: File) -> int:
    """A number that the kernel tells, 0 if it does not."""
    try:
        return int(file.read_text(), 0)
    except (OSError, ValueError):
        return 0
