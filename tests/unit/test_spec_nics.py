"""What a network card's table can get wrong, and what of it two guests cannot both have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsup.argv.facts import HostFacts
from qsup.probe import vhost
from qsup.spec.base import HostPath
from qsup.spec.tables.machine import Machine
from qsup.spec.tables.nic import Nic, NicModel, NicType
from tests.unit.argv_guests import KVM, built
from tests.unit.argv_parsing import devices, values
from tests.unit.test_spec_load import configuration


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("interface = 't0'", 'interface: belongs to type = "tap" or "passt", and the type is "user"'),
        ("queues = 2", 'queues: belongs to type = "tap" or "vhost-user", and the type is "user"'),
        ("type = 'tap'", 'interface: is missing; type = "tap" needs it'),
        ("type = 'vhost-user'", 'socket: is missing; type = "vhost-user" needs it'),
        ("type = 'socket'", 'type: "socket" needs one of `listen`, `connect` and `multicast`'),
        (
            "type = 'socket'\nlisten = '127.0.0.1:1'\nconnect = '127.0.0.1:1'",
            "connect: cannot stand beside `listen`: a NIC has one cable",
        ),
        ("type = 'socket'\nlisten = '127.0.0.300:1'", 'listen: "127.0.0.300" is no IP address'),
        ("type = 'socket'\nlisten = '[::1]:70000'", 'listen: "70000" is no port; ports go from 1 to 65535'),
        ("type = 'socket'\nlisten = '127.0.0.1'", 'write "127.0.0.1:1234", or "[::1]:1234"'),
        ("type = 'socket'\nconnect = '230.0.0.1:1'", "connect: 230.0.0.1 is a multicast address"),
        ("type = 'socket'\nmulticast = '10.0.0.1:1'", "multicast: 10.0.0.1 is no IPv4 multicast address"),
        ("type = 'socket'\nmulticast = '[ff02::1]:1'", "multicast: ff02::1 is no IPv4 multicast address"),
        ("model = 'e1000'\nmtu = 9000", 'mtu: needs model = "virtio-net", and the model is "e1000"'),
        ("type = 'vhost-user'\nsocket = 's'\nmodel = 'e1000'", 'model: type = "vhost-user" needs model ='),
        (
            "type = 'tap'\ninterface = 't0'\nmodel = 'e1000'\nqueues = 2",
            'queues: only model = "virtio-net" has more than one',
        ),
        ("network = '10.0.2.5/24'", 'network: "10.0.2.5/24" is no network; the address is its first'),
        ("network = '10.0.0.0/30'", 'network: "10.0.0.0/30" is no network that QEMU can serve'),
        ("dns = '10.0.2.2'", "dns: 10.0.2.2 is the host in this network"),
        ("network = '10.0.0.0/8'\ndns = '10.0.2.2'", "dns: 10.0.2.2 is the host in this network"),
        ("dns = '10.0.2.256'", 'dns: "10.0.2.256" is no IPv4 address'),
        ("hostname = '-a'", "a host name is up to 63 letters, digits or hyphens"),
        (f"bootfile = '{'é' * 64}'", "bootfile: is longer than 127 bytes"),
    ],
)
def test_what_does_not_go_together_is_told_at_its_key(keys: str, told: str, tmp_path: Path) -> None:
    problems = configuration(tmp_path, {"web1": f"[nic.lan]\n{keys}\n"}).problems
    assert [told in str(problem) for problem in problems] == [True], problems


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "machine.type = 'microvm'\nnic.lan.model = 'e1000'",
            'nic.lan.model: a microvm has no PCI bus; use "virtio-net"',
        ),
        ("\n".join(f"nic.n{number} = {{}}" for number in range(9)), "nic.n8: 9 NICs; a guest can have 8"),
    ],
)
def test_a_card_that_finds_no_place_is_told(text: str, told: str, tmp_path: Path) -> None:
    assert [told in str(problem) for problem in configuration(tmp_path, {"web1": text}).problems] == [True]


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    text = """
        [nic.a]
        network = "192.168.0.0/16"
        dns = "192.168.2.9"
        bootfile = "pxelinux.0"
        [nic.b]
        type = "socket"
        listen = "[::1]:1"
        [nic.c]
        type = "tap"
        interface = "t0"
        model = "e1000"
        vhost = false
    """
    assert configuration(tmp_path, {"web1": text}).problems == ()


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("type = 'socket'\nlisten = '127.0.0.1:80'", "forward = ['tcp::80:80']", True),
        ("type = 'socket'\nlisten = '127.0.0.1:80'", "type = 'socket'\nlisten = '[::]:80'", True),
        ("type = 'socket'\nlisten = '127.0.0.1:80'", "type = 'socket'\nconnect = '127.0.0.1:80'", False),
        ("type = 'socket'\nmulticast = '230.0.0.1:80'", "type = 'socket'\nmulticast = '230.0.0.1:80'", False),
        ("type = 'vhost-user'\nsocket = '/s'", "type = 'vhost-user'\nsocket = '/s'", True),
    ],
)
def test_a_port_and_a_place_at_a_switch_have_one_guest(
    first: str, second: str, clash: bool, tmp_path: Path
) -> None:
    guests = {"a": f"[nic.lan]\n{first}", "b": f"[nic.lan]\n{second}"}
    assert configuration(tmp_path, guests).broken == ({"b"} if clash else set())


@pytest.mark.parametrize(
    ("asked", "there", "vhost"),
    [(None, True, True), (None, False, None), (False, True, None), (True, False, True)],
)
def test_the_kernel_moves_the_packets_where_it_can_unless_the_file_says_otherwise(
    asked: bool | None, there: bool, vhost: bool | None
) -> None:
    facts = HostFacts("/q", kvm=True, vhost_net=there)
    nic = Nic(type=NicType.TAP, interface="t0", vhost=asked)
    assert values(built(facts, nic={"lan": nic}), "-netdev")[0].get("vhost") is vhost


def test_only_a_virtio_card_leaves_its_packets_to_the_kernel() -> None:
    facts = HostFacts("/q", kvm=True, vhost_net=True)
    nic = Nic(type=NicType.TAP, interface="t0", model=NicModel.E1000)
    assert "vhost" not in values(built(facts, nic={"lan": nic}), "-netdev")[0]


@pytest.mark.parametrize(
    ("members", "again"),
    [
        ({}, {}),
        ({"reconnect"}, {"reconnect": 1}),
        ({"reconnect", "reconnect-ms"}, {"reconnect-ms": 1000}),
    ],
)
def test_a_peer_that_is_not_there_is_called_again_by_a_qemu_that_is_known_to_do_it(
    members: set[str], again: dict[str, int]
) -> None:
    known = frozenset({"addr", *members})
    facts = HostFacts("/q", kvm=True, members={"NetdevStreamOptions": known, "ChardevSocket": known})
    connected = Nic(type=NicType.SOCKET, connect="127.0.0.1:1")
    assert again.items() <= (netdev := values(built(facts, nic={"a": connected}), "-netdev")[0]).items()
    assert {"reconnect", "reconnect-ms"} & netdev.keys() == again.keys()
    switched = Nic(type=NicType.VHOST_USER, socket=HostPath("/s"))
    chardev = dict(values(built(facts, nic={"a": switched}), "-chardev")[1])
    assert {key: int(value) for key, value in chardev.items() if key.startswith("reconnect")} == again


@pytest.mark.parametrize(
    ("keys", "old"),
    [
        ({"listen": "127.0.0.1:1"}, {"listen": "127.0.0.1:1"}),
        ({"connect": "127.0.0.1:1"}, {"connect": "127.0.0.1:1"}),
        ({"multicast": "230.0.0.1:1"}, {"mcast": "230.0.0.1:1"}),
    ],
)
def test_a_qemu_without_streams_gets_the_older_backend(keys: dict[str, Any], old: dict[str, str]) -> None:
    facts = HostFacts("/q", kvm=True, members={"NetClientDriver": frozenset({"socket"})})
    netdev = values(built(facts, nic={"a": Nic(type=NicType.SOCKET, **keys)}), "-netdev")[0]
    assert netdev == {"type": "socket", "id": "net-a", **old}


def test_a_card_of_a_microvm_has_queues_and_no_vectors() -> None:
    nic = Nic(type=NicType.TAP, interface="t0", queues=4)
    assert devices(built(KVM, nic={"a": nic}))["nic-a"]["vectors"] == 10
    card = devices(built(KVM, machine=Machine(type="microvm"), nic={"a": nic}))["nic-a"]
    assert (card["mq"], card.get("vectors")) == (True, None)


def test_whether_the_kernel_moves_packets_is_tried_by_opening_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "vhost-net"
    monkeypatch.setattr(vhost, "VHOST_NET", str(device))
    assert not vhost.vhost_net()
    device.write_text("")
    assert vhost.vhost_net()
    device.unlink()
    device.symlink_to("/dev/full/nothing")
    assert not vhost.vhost_net()
