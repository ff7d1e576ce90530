"""Devices of the host, and the socket to it: what their tables can get wrong, and what two guests cannot both have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsup.errors import SpecError
from qsup.spec.tables.machine import Machine
from qsup.spec.tables.passthrough import PciDevice, UsbDevice
from qsup.spec.tables.vsock import LEAST_CID, MOST_CID, Vsock
from tests.unit.argv_guests import KVM, built
from tests.unit.argv_parsing import devices
from tests.unit.test_spec_load import configuration

MDEV = "3f0a3a3e-6c3c-4f0e-9b5e-0b1f6d2a7c11"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("usb.a = {}", "usb.a: names no device: write `vendor` and `product`, or `bus` and `port`"),
        ("usb.a.vendor = '0951'", "usb.a.product: is missing; `vendor` needs it"),
        ("usb.a.product = '0951'", "usb.a.vendor: is missing; `product` needs it"),
        ("usb.a.port = '1'", "usb.a.bus: is missing; `port` needs it"),
        ("usb.a.bus = 1", "usb.a.bus: needs `port` or `address`"),
        ("usb.a = { bus = 1, port = '1', address = 2 }", "usb.a.address: cannot stand beside `port`"),
        ("usb.a.vendor = '0X51'", "write four hexadecimal digits in lower case"),
        ("usb.a = { bus = 1, port = '0' }", "write the numbers of the ports on the way to it"),
        ("usb-redirect.a = {}", 'usb-redirect.a: needs an `address`, or display.type = "spice"'),
        ("usb-redirect.a.address = '127.0.0.1:0'", 'usb-redirect.a.address: "0" is no port'),
        ("pci.a = {}", "pci.a: names no device: write `host` or `mdev`"),
        (f"pci.a = {{ host = '01:00.0', mdev = '{MDEV}' }}", "pci.a.mdev: cannot stand beside `host`"),
        (
            f"pci.a = {{ primary = true, mdev = '{MDEV}' }}",
            "pci.a.primary: a mediated device has no legacy VGA",
        ),
        ("pci.a = { host = '01:00.0', rom = false, rom-file = '/r' }", "pci.a.rom-file: is for nothing"),
        ("pci.a.host = '1:0.0'", "write the address in lower case, as lspci does"),
        ("pci.a.host = '01:20.0'", "write the address in lower case, as lspci does"),
        ("vsock.cid = 2", "vsock.cid: "),
        (
            "machine.type = 'microvm'\npci.a.host = '01:00.0'",
            "pci.a: a microvm has no PCI bus, and so no USB",
        ),
        ("machine.type = 'microvm'\nusb.a = { bus = 1, port = '1' }", "usb.a: a microvm has no PCI bus"),
        (
            "\n".join(f"pci.d{number}.host = '0{number}:00.0'" for number in range(9)),
            "pci.d8: 9 PCI devices of the host; a guest can have 8",
        ),
    ],
)
def test_what_names_no_device_is_told(text: str, told: str, tmp_path: Path) -> None:
    problems = configuration(tmp_path, {"web1": text}).problems
    assert [told in str(problem) for problem in problems] == [True], problems


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("pci.a.host = '01:00.0'", "pci.b.host = '0000:01:00.0'", True),
        ("pci.a.host = '01:00.0'", "pci.a.host = '01:00.1'", False),
        ("pci.a.host = '01:00.0'", "pci.a.host = '0001:01:00.0'", False),
        (f"pci.a.mdev = '{MDEV}'", f"pci.a.mdev = '{MDEV}'", True),
        (
            "usb.a = { vendor = '0951', product = '1666' }",
            "usb.b = { vendor = '0951', product = '1666' }",
            True,
        ),
        (
            "usb.a = { vendor = '0951', product = '1666', bus = 1, port = '1' }",
            "usb.a = { vendor = '0951', product = '1666', bus = 1, port = '2' }",
            False,
        ),
        ("usb.a = { bus = 1, port = '1' }", "usb.a = { bus = 1, port = '1' }", True),
        ("usb.a = { bus = 1, port = '1' }", "usb.a = { bus = 1, address = 1 }", False),
        ("vsock = { enabled = true, cid = 5 }", "vsock = { enabled = true, cid = 5 }", True),
        ("vsock = { enabled = true, cid = 5 }", "vsock = { cid = 5 }", False),
        ("vsock.enabled = true", "vsock.enabled = true", False),
    ],
)
def test_a_device_has_one_guest(first: str, second: str, clash: bool, tmp_path: Path) -> None:
    found = configuration(tmp_path, {"a": first, "b": second})
    assert found.broken == ({"b"} if clash else set()), found.problems


def test_a_derived_address_that_another_guest_has_is_a_clash_as_well(tmp_path: Path) -> None:
    derived = Vsock(enabled=True).address("a")
    found = configuration(
        tmp_path, {"a": "vsock.enabled = true", "b": f"vsock = {{ enabled = true, cid = {derived} }}"}
    )
    assert f"vsock.cid: the vsock address {derived} is used by guest a as well as b" in str(found.problems[0])


def test_a_derived_address_is_stable_and_one_that_a_guest_can_have() -> None:
    addresses = {Vsock(enabled=True).address(f"web{number}") for number in range(1000)}
    assert len(addresses) == 1000
    assert all(LEAST_CID <= address <= MOST_CID for address in addresses)
    assert Vsock(enabled=True).address("web1") == 1169256065
    assert Vsock(enabled=True, cid=7).address("web1") == 7


@pytest.mark.parametrize(("machine", "ports"), [("q35", 8), ("pc", 0)])
def test_eight_devices_of_the_host_have_a_place_each_and_the_first_function_is_there(
    machine: str, ports: int
) -> None:
    hosts = {f"d{number}": PciDevice(host=f"01:00.{number}") for number in range(8)}
    made = devices(built(KVM, machine=Machine(type=machine), pci=hosts))
    placed = [device for device in made.values() if str(device.get("addr")).startswith("0x1d.")]
    assert sorted(device["addr"] for device in placed) == [f"0x1d.{number}" for number in range(8)]
    assert [device["addr"] for device in placed if device.get("multifunction")] == ["0x1d.0"]
    roots = [device for device in made.values() if device["driver"] == "pcie-root-port"]
    assert len({device["chassis"] for device in roots}) == len(roots) == ports
    with pytest.raises(SpecError, match="room for 8 PCI devices of the host"):
        built(KVM, machine=Machine(type=machine), pci={**hosts, "d8": PciDevice(host="02:00.0")})


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"usb": {"a": UsbDevice()}}, "usb.a names no device"),
        ({"usb": {"a": UsbDevice(vendor="xyzt", product="1666")}}, "usb.a.vendor is 'xyzt'"),
        ({"pci": {"a": PciDevice()}}, "pci.a needs either `host` or `mdev`"),
        (
            {"machine": Machine(type="microvm"), "pci": {"a": PciDevice(host="01:00.0")}},
            "no PCI bus for vfio-pci",
        ),
        (
            {"usb": {f"d{number}": UsbDevice(bus=1, port=f"{number}") for number in range(1, 17)}},
            "16 USB devices; the controller has room for 15",
        ),
    ],
)
def test_what_no_qemu_could_take_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        built(KVM, **keys)
