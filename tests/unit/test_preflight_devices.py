"""What stands against giving a guest the host's interfaces and devices, on a host made of files."""

from __future__ import annotations

import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.preflight import devices, network
from qsup.preflight.obstacle import Plan
from qsup.spec.base import HostPath
from qsup.spec.tables.memory import Memory
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.passthrough import PciDevice, UsbDevice
from qsup.spec.tables.vsock import Vsock
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, guest

MDEV = "3f0a3a3e-6c3c-4f0e-9b5e-0b1f6d2a7c11"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without devices, with limits that hold: `sys` and `dev` in a directory."""
    monkeypatch.setattr(devices, "SYS", tmp_path / "sys")
    monkeypatch.setattr(devices, "DEV", tmp_path / "dev")
    monkeypatch.setattr(network, "INTERFACES", tmp_path / "sys/class/net")
    monkeypatch.setattr(devices, "_may_lock_all", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return tmp_path


def write(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).write_text(f"{text}\n")
    return root


def told(facts: HostFacts = KVM, *, fatal: bool | None = None, **keys: Any) -> list[str]:
    """What the two families say, all of it or what is fatal or not."""
    spec = guest(**keys)
    plan = Plan(spec, facts, build(spec, facts, CONTEXT))
    found = [*network.obstacles(plan), *devices.obstacles(plan)]
    return [str(obstacle) for obstacle in found if fatal in (None, obstacle.fatal)]


def tap(host: Path, kind: int, **more: str) -> None:
    write(host / "sys/class/net/t0", **{"tun_flags": hex(kind), "flags": "0x1003", "mtu": "1500", **more})


@pytest.mark.parametrize(
    ("flags", "queues", "said"),
    [
        (0x1002, 1, ""),
        (0x1102, 4, ""),
        (
            0x1002,
            4,
            "was made with one queue, and `queues` is 4; `ip tuntap add t0 mode tap multi_queue` makes",
        ),
        (0x1102, 1, "was made with several queues, and `queues` is 1; `ip tuntap add t0 mode tap` makes"),
        (0x1001, 1, "t0 is no tap interface"),
        (0, 1, "t0 is no tap interface"),
    ],
)
def test_a_tap_interface_must_be_one_and_fit(flags: int, queues: int, said: str, host: Path) -> None:
    tap(host, flags)
    found = told(nic={"lan": Nic(type=NicType.TAP, interface="t0", queues=queues)})
    assert [said in one for one in found] == ([True] if said else []), found
    assert all(one.startswith("nic.lan.interface: ") for one in found)


def test_what_is_only_worth_knowing_of_an_interface_is_not_in_the_way(host: Path) -> None:
    tap(host, 0x1002, flags="0x1002", mtu="1400")
    nic = Nic(type=NicType.TAP, interface="t0", mtu=1500)
    assert told(fatal=True, nic={"lan": nic}) == []
    assert told(fatal=False, nic={"lan": nic}) == [
        "nic.lan.interface: t0 is down: `ip link set t0 up`",
        "nic.lan.mtu: t0 carries packets of 1400 bytes, and the guest is told that it may send 1500",
    ]


def test_a_bridge_must_be_one(host: Path) -> None:
    write(host / "sys/class/net/br0/bridge")
    write(host / "sys/class/net/br0", flags="0x1003")
    nic = Nic(type=NicType.BRIDGE, bridge="br0")
    assert told(nic={"lan": nic}) == []
    (host / "sys/class/net/br0/bridge").rmdir()
    assert told(nic={"lan": nic}) == [
        "nic.lan.bridge: br0 is no bridge; `ip link show type bridge` shows those that there are"
    ]


def test_vhost_that_is_asked_for_must_be_there(host: Path) -> None:
    tap(host, 0x1002)
    asked = {"lan": Nic(type=NicType.TAP, interface="t0", vhost=True)}
    (obstacle,) = told(nic=asked)
    assert obstacle.startswith("nic.lan.vhost: /dev/vhost-net is not there, or not for this user")
    assert told(HostFacts("/q", kvm=True, vhost_net=True), nic=asked) == []
    assert told(nic={"lan": Nic(type=NicType.TAP, interface="t0")}) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_to_listen_on_must_be_free(address: str, host: Path) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as holder:
        port = holder.getsockname()[1]
        listen = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        nic = Nic(type=NicType.SOCKET, listen=listen)
        assert told(nic={"a": nic}) == [f"nic.a.listen: tcp port {port} on {address}: Address already in use"]
    assert told(nic={"a": nic}) == []


def test_a_switch_must_have_its_socket_and_tftp_its_directory(host: Path) -> None:
    switch = host / "switch.sock"
    nics = {
        "a": Nic(type=NicType.VHOST_USER, socket=HostPath(switch)),
        "b": Nic(tftp=HostPath(host / "tftp")),
    }
    assert told(nic=nics) == [
        f"nic.a.socket: {switch} does not exist",
        f"nic.b.tftp: there is no directory {host}/tftp",
    ]
    switch.write_text("")
    (host / "tftp").mkdir()
    assert told(nic=nics) == [f"nic.a.socket: {switch} is no socket"]
    switch.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(switch))
        assert told(nic=nics) == []


def test_a_vsock_needs_its_device(host: Path) -> None:
    assert told(vsock=Vsock(enabled=True)) == [
        f"vsock.enabled: {host}/dev/vhost-vsock does not exist; `modprobe vhost_vsock` makes it"
    ]
    write(host / "dev", **{"vhost-vsock": ""})
    assert told(vsock=Vsock(enabled=True)) == []


def stick(host: Path, node: bool = True) -> None:
    files = {"idVendor": "0951", "idProduct": "1666", "busnum": "1", "devpath": "1.2", "devnum": "7"}
    write(host / "sys/bus/usb/devices/1-1.2", **files)
    write(host / "sys/bus/usb/devices/1-1.2:1.0", bInterfaceNumber="00")
    if node:
        write(host / "dev/bus/usb/001", **{"007": ""})


@pytest.mark.parametrize(
    "usb",
    [
        UsbDevice(vendor="0951", product="1666"),
        UsbDevice(bus=1, port="1.2"),
        UsbDevice(bus=1, address=7),
        UsbDevice(vendor="0951", product="1666", bus=1, port="1.2"),
    ],
)
def test_a_usb_device_is_found_by_each_of_its_names(usb: UsbDevice, host: Path) -> None:
    stick(host)
    assert told(usb={"a": usb}) == []


@pytest.mark.parametrize(
    "usb",
    [
        UsbDevice(vendor="0951", product="1667"),
        UsbDevice(bus=2, port="1.2"),
        UsbDevice(vendor="0951", product="1666", bus=1, port="1.3"),
    ],
)
def test_a_usb_device_that_is_not_plugged_in_is_waited_for(usb: UsbDevice, host: Path) -> None:
    stick(host)
    assert told(usb={"a": usb}, fatal=True) == []
    assert told(usb={"a": usb}) == ["usb.a: it is not plugged in; the guest gets it when it comes"]


def test_a_usb_device_by_its_address_must_be_there_and_each_must_be_ours(host: Path) -> None:
    assert told(usb={"a": UsbDevice(bus=1, address=7)}) == [
        "usb.a: there is no USB device 1:7; `lsusb` shows those that there are"
    ]
    stick(host, node=False)
    (obstacle,) = told(usb={"a": UsbDevice(vendor="0951", product="1666")})
    assert obstacle.startswith(f"usb.a: {host}/dev/bus/usb/001/007 may not be opened by this user")


def pci(host: Path, address: str, driver: str | None, group: int | None = 12) -> None:
    """A device, bound to a driver, in a group."""
    at = host / "sys/bus/pci/devices" / address
    at.mkdir(parents=True)
    if driver is not None:
        (made := host / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (at / "driver").symlink_to(made)
    if group is not None:
        members = host / f"sys/kernel/iommu_groups/{group}/devices"
        members.mkdir(parents=True, exist_ok=True)
        (members / address).symlink_to(at)
        (at / "iommu_group").symlink_to(members.parent)


GPU = {"gpu": PciDevice(host="01:00.0")}


def test_a_pci_device_that_is_ours_to_give_has_no_obstacle(host: Path) -> None:
    pci(host, "0000:01:00.0", "vfio-pci")
    pci(host, "0000:00:01.0", "pcieport")
    pci(host, "0000:01:00.2", None)
    write(host / "dev/vfio", **{"12": ""})
    assert told(pci=GPU) == []


@pytest.mark.parametrize(
    ("driver", "group", "node", "said"),
    [
        ("", 12, True, "there is no PCI device 0000:01:00.0; `lspci -D` shows"),
        (
            "nouveau",
            12,
            True,
            "0000:01:00.0 is bound to the driver nouveau; `driverctl set-override 0000:01:00.0",
        ),
        (None, 12, True, "0000:01:00.0 is bound to no driver"),
        ("vfio-pci", None, True, "0000:01:00.0 has no IOMMU group: the IOMMU is off in the firmware"),
        ("vfio-pci", 12, False, "/dev/vfio/12 may not be opened by this user"),
    ],
)
def test_what_keeps_a_pci_device_from_being_given_is_told(
    driver: str | None, group: int | None, node: bool, said: str, host: Path
) -> None:
    if driver != "":
        pci(host, "0000:01:00.0", driver, group)
    if node:
        write(host / "dev/vfio", **{"12": ""})
    (obstacle,) = told(pci=GPU)
    assert obstacle.startswith("pci.gpu.host: ")
    assert said in obstacle


def test_the_rest_of_a_group_must_be_given_away_as_well(host: Path) -> None:
    pci(host, "0000:01:00.0", "vfio-pci")
    pci(host, "0000:01:00.1", "snd_hda_intel")
    write(host / "dev/vfio", **{"12": ""})
    assert told(pci=GPU) == [
        "pci.gpu.host: 0000:01:00.0 shares its IOMMU group with 0000:01:00.1, which is bound to the driver "
        "snd_hda_intel; a group is given away whole, so bind that to vfio-pci as well"
    ]


def test_a_mediated_device_and_a_rom_must_be_there(host: Path) -> None:
    part = {"part": PciDevice(mdev=MDEV, rom_file=HostPath(host / "rom"))}
    assert told(pci=part) == [
        f"pci.part.rom-file: {host}/rom does not exist",
        f"pci.part.mdev: there is no {host}/sys/bus/mdev/devices/{MDEV}; `mdevctl list` shows those that there are",
    ]


@pytest.mark.parametrize(
    ("limit", "clash"), [(8 << 20, True), (2 << 30, False), (resource.RLIM_INFINITY, False)]
)
def test_memory_that_may_not_be_locked_is_told(
    limit: int, clash: bool, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    pci(host, "0000:01:00.0", "vfio-pci")
    write(host / "dev/vfio", **{"12": ""})
    memory = Memory(size=Size.parse("2 GiB"))
    found = told(pci=GPU, memory=memory)
    assert [
        one.startswith("pci.gpu: all of the guest's memory (2 GiB) is locked, and 8 MiB is") for one in found
    ] == ([True] if clash else [])
    assert told(memory=memory) == []
    locked = told(memory=Memory(size=Size.parse("2 GiB"), lock=True))
    assert [one.partition(":")[0] for one in locked] == (["memory.lock"] if clash else [])
    monkeypatch.setattr(devices, "_may_lock_all", lambda: True)
    assert told(pci=GPU, memory=memory) == []


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [("000001ffffffffff", True), ("0000000000004000", True), ("000001ffffffbfff", False)],
)
def test_the_capability_to_lock_is_read_as_the_kernel_tells_it(
    capabilities: str, may: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, status=f"Name:\tqsupd\nCapPrm:\t0000000000000000\nCapEff:\t{capabilities}\n")
    monkeypatch.setattr(devices, "STATUS", tmp_path / "status")
    assert devices._may_lock_all() is may


def test_the_kernel_s_own_status_can_be_read() -> None:
    assert "CapEff:" in devices.STATUS.read_text()
