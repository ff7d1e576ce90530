"""The host side of network cards: what each is connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from qsup.argv import passt
from qsup.argv.invocation import Option
from qsup.argv.quote import as_json, pairs
from qsup.errors import SpecError
from qsup.spec.address import Endpoint
from qsup.spec.tables.nic import NicModel, NicType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.facts import HostFacts
    from qsup.spec.tables.nic import Nic

AGAIN: Final = 1
"""Seconds between two tries to reach a peer that is not there."""


def connection(draft: Draft, name: str, nic: Nic) -> Iterator[Option]:
    """The backend ``net-NAME``, and before it what it needs."""
    if nic.type is NicType.VHOST_USER:
        yield Option("-chardev", _switch(draft.facts, name, nic))
    yield as_json("-netdev", {"type": None, "id": f"net-{name}", **_backend(draft, name, nic)})


def queues(nic: Nic) -> int | None:
    """How many queues both sides are told of; None for a card that has the usual one."""
    return nic.queues if nic.queues > 1 else None


def reconnect(facts: HostFacts, kind: str) -> dict[str, int]:
    """How a client is told to call again, if this QEMU is known to be able to: ``kind`` is its type in QMP's schema.

    The newer key is milliseconds; the older one has gone from QEMU since.
    """
    known = facts.members.get(kind, frozenset())
    if "reconnect-ms" in known:
        return {"reconnect-ms": AGAIN * 1000}
    return {"reconnect": AGAIN} if "reconnect" in known else {}


def _backend(draft: Draft, name: str, nic: Nic) -> dict[str, object]:
    match nic.type:
        case NicType.USER:
            return _user(nic)
        case NicType.TAP:
            if nic.interface is None:
                raise SpecError(f'nic.{name}: type = "tap" needs `interface`, the name of a tap interface')
            return {**_tap(draft, name), "vhost": _vhost(draft.facts, nic) or None}
        case NicType.BRIDGE:
            if nic.bridge is None:
                raise SpecError(f'nic.{name}: type = "bridge" needs `bridge`, the name of a bridge')
            return _tap(draft, name)
        case NicType.SOCKET:
            return _socket(draft.facts, name, nic)
        case NicType.VHOST_USER:
            if nic.model is not NicModel.VIRTIO_NET:
                raise SpecError(f'nic.{name}: type = "vhost-user" needs model = "virtio-net"')
            return {"type": "vhost-user", "chardev": f"net-{name}", "queues": queues(nic)}
        case NicType.PASST:
            return passt.backend(draft, name)
        case never:
            assert_never(never)


def _user(nic: Nic) -> dict[str, object]:
    return {
        "type": "user",
        "net": nic.network,
        "hostname": nic.hostname,
        "restrict": nic.restrict or None,
        "dns": nic.dns,
        "tftp": nic.tftp,
        "bootfile": nic.bootfile,
        "hostfwd": [{"str": _hostfwd(rule)} for rule in nic.forward] or None,
    }


def _hostfwd(rule: str) -> str:
    """``tcp:127.0.0.1:8080:80`` as QEMU writes it: ``tcp:127.0.0.1:8080-:80``."""
    outside, _, guest_port = rule.rpartition(":")
    return f"{outside}-:{guest_port}"


def _tap(draft: Draft, name: str) -> dict[str, object]:
    """Opened before QEMU is there: a QEMU that is not root's may open none, and none may run a helper for it."""
    fds = draft.taps[name].fds
    return {"type": "tap", "fds" if len(fds) > 1 else "fd": ":".join(map(str, fds))}


def _vhost(facts: HostFacts, nic: Nic) -> bool:
    return nic.model is NicModel.VIRTIO_NET and (facts.vhost_net if nic.vhost is None else nic.vhost)


def _socket(facts: HostFacts, name: str, nic: Nic) -> dict[str, object]:
    """By ``stream`` and ``dgram``, which can call again, where this QEMU has them; by ``socket`` where not."""
    streams = facts.has_member("NetClientDriver", "stream")
    if nic.listen is not None:
        if streams:
            return {"type": "stream", "server": True, "addr": _inet(nic.listen)}
        return {"type": "socket", "listen": nic.listen}
    if nic.connect is not None:
        if streams:
            again = reconnect(facts, "NetdevStreamOptions")
            return {"type": "stream", "server": False, "addr": _inet(nic.connect), **again}
        return {"type": "socket", "connect": nic.connect}
    if nic.multicast is not None:
        if streams:
            return {"type": "dgram", "remote": _inet(nic.multicast)}
        return {"type": "socket", "mcast": nic.multicast}
    raise SpecError(f'nic.{name}: type = "socket" needs one of `listen`, `connect` and `multicast`')


def _inet(text: str) -> dict[str, object]:
    host, port = Endpoint.of(text)
    return {"type": "inet", "host": host, "port": port}


def _switch(facts: HostFacts, name: str, nic: Nic) -> str:
    """The line to the switch, on which QEMU calls; a switch that was restarted is called again."""
    if nic.socket is None:
        raise SpecError(f'nic.{name}: type = "vhost-user" needs `socket`, the path of the switch\'s socket')
    again = reconnect(facts, "ChardevSocket")
    return pairs("socket", id=f"net-{name}", path=nic.socket, server=False, **again)
