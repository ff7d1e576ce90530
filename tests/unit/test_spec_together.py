"""What tables of one guest ask of each other, and what a table by itself cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.test_spec_load import problems

if TYPE_CHECKING:
    from pathlib import Path

MICROVM = "machine.type = 'microvm'\n"
WRONG = {
    "machine.accel = 'tcg'\nclock.pit-tick = 'delay'": "clock.pit-tick: is about KVM's timer",
    "machine.usb = 'none'\nusb.a = { bus = 1, port = '1' }": 'usb.a: needs USB, and machine.usb is "none"',
    "machine.usb = 'none'\nusb-redirect.a.address = '127.0.0.1:1'": "usb-redirect.a: needs USB",
    "machine.usb = 'none'\ndisk.a = { file = '/a', bus = 'usb' }": "disk.a.bus: needs USB",
    "machine.usb = 'none'\ncdrom.a.bus = 'usb'": "cdrom.a.bus: needs USB",
    "machine.usb = 'none'\ncloud-init.bus = 'usb'": "cloud-init.bus: needs USB",
    "machine.usb = 'none'\nserial.a.type = 'usb'": "serial.a.type: needs USB",
    "machine.usb = 'none'\ninput.keyboard = 'usb'": "input.keyboard: needs USB",
    "machine.usb = 'none'\ninput.pointer = 'usb-mouse'": "input.pointer: needs USB",
    "machine.usb = 'none'\nsound.model = 'usb'": "sound.model: needs USB",
    MICROVM + "clock.hpet = true": "clock.hpet: a microvm never has an HPET",
    MICROVM + "watchdog.model = 'i6300esb'": 'watchdog.model: a microvm has no PCI bus; use "ib700"',
    "machine.type = 'pc'\nwatchdog.model = 'itco'": 'watchdog.model: "itco" is a part of the q35 board',
    MICROVM + "[panic]\nenabled = true\nmodel = 'pci'": 'panic.model: a microvm has no PCI bus; use "isa"',
    MICROVM + "serial.a.type = 'usb'": 'serial.a.type: a microvm has no PCI bus; use "isa" or "virtio"',
    "".join(f"serial.{name}.type = 'pci'\n" for name in "abcd"): 'serial.d: 4 serial ports of type "pci"',
    "".join(f"parallel.{name}.file = '/{name}'\n" for name in "abcd"): "parallel: 4 parallel ports; a PC has at most 3",
    "[parallel.a]": "parallel.a: needs `device` or `file`",
    "parallel.a = { file = '/a', device = '/b' }": "parallel.a.file: stands beside `device`",
    "[fw-cfg.a]": "fw-cfg.a: needs `text` or `file`",
    "fw-cfg.a = { file = '/a', text = 'b' }": "fw-cfg.a.text: stands beside `file`",
    "fw-cfg.a = { text = '' }": "fw-cfg.a.text",
    "fw-cfg.a = { text = 'b', name = 'etc/table-loader' }": 'a name is "opt/", a letter or digit',
    f"fw-cfg.a = {{ text = 'b', name = 'opt/{'x' * 52}' }}": 'a name is "opt/", a letter or digit',
    "fw-cfg.a = { text = 'b' }\nfw-cfg.b = { text = 'b', name = 'opt/qsup/a' }": 'like [fw-cfg.a]',
    "fw-cfg.a = { text = 'b', name = 'opt/io.systemd.credentials/c' }\n[credential.c]\ntext = 'd'": (
        'credential.c: is named "opt/io.systemd.credentials/c", like [fw-cfg.a]'
    ),
    "ready.check = 'notify'\n[credential.a]\ntext = 'b'\nname = 'vmm.notify_socket'": (
        'credential.a: has the name "vmm.notify_socket", which [ready] check = "notify" gives'
    ),
    "ready.check = 'notify'\n[fw-cfg.a]\ntext = 'b'\nname = 'opt/io.systemd.credentials/vmm.notify_socket'": (
        'fw-cfg.a: has the name "vmm.notify_socket", which'
    ),
    "ready = { check = 'http', url = 'http://h:99999/' }": 'ready.url: "99999" is no port',
    "ready = { check = 'http', url = 'http://[1::2::3]/' }": 'ready.url: "[1::2::3]" is no IPv6 address',
    "ready = { check = 'http', url = 'http://a:b:c/' }": 'ready.url: "a:b:c" is no host with or without a port',
    "[[health]]\nname = 'a'\ncheck = 'http'\nurl = 'http://h:0/'": 'url: "0" is no port',
    "[credential.a]": "credential.a: needs `file` or `text`",
    "credential.a = { file = '/a', text = 'b' }": "credential.a.text: stands beside `file`",
    "credential.a = { text = 'b', name = 'a,b' }": "credential.a.name",
    "rng.rate = '0 B'": "rng.rate: 0 B is out of range; allowed: 1 B to 1 TiB",
    "smbios.bios-date = '2026-12-31'": 'smbios.bios-date: "2026-12-31" is not allowed: write month, day and year',
    "smbios.bios-release = '1.256'": 'smbios.bios-release: "1.256" is not allowed: a release is two numbers',
    "limits.disk.a.read-iops-max = 7": 'limits.disk.a: there is no disk "a"',
    "limits.disk.a.read-iops-max = 7\ndisk.a.nbd = 'nbd://h/e'": "limits.disk.a: disk.a is no file or device",
    "limits.disk.a = {}\ndisk.a.file = '/a'": "limits.disk.a: limits nothing; write read-bandwidth-max",
    "limits.disk.a.read-bandwidth-max = '1 B'\ndisk.a.file = '/a'": "read-bandwidth-max: 1 B is out of range",
    "limits.allowed-cpus = '0-3'\n[cpu]\ncount = 2\npin = ['0', '3-4']": (
        "cpu.pin[1]: 4 is not among limits.allowed-cpus, 0-3"
    ),
    "limits.allowed-cpus = '0-3'\ncpu.emulator-pin = '9'": "cpu.emulator-pin: 9 is not among limits.allowed-cpus",
    "limits.allowed-memory-nodes = '0'\nlimits.numa-policy = 'bind'\nlimits.numa-mask = '1'": (
        "limits.numa-mask: 1 is not among limits.allowed-memory-nodes, 0"
    ),
    "limits.allowed-memory-nodes = '0'\n[numa.a]\nmemory = '1 GiB'\npolicy = 'bind'\nhost-nodes = '0-1'": (
        "numa.a.host-nodes: 1 is not among limits.allowed-memory-nodes, 0"
    ),
    "limits.allowed-cpus = '3-0'": 'limits.allowed-cpus: "3-0" runs backwards',
    "limits.tasks-max = 8\ncpu.count = 6": "limits.tasks-max: 8 is too few: QEMU alone has 10 threads at least",
    "limits.memory-max = '1 MiB'": "limits.memory-max: 1 MiB is out of range; allowed: 16 MiB to 4096 TiB",
    "limits.memory-max = '1 GiB'\nlimits.memory-high = '2 GiB'": "limits.memory-high: 2 GiB is more than",
    "limits.numa-policy = 'bind'": 'limits.numa-mask: is missing; numa-policy = "bind" needs it',
    "limits.numa-mask = '0'": 'limits.numa-mask: needs a numa-policy: "bind", "preferred" or "interleave"',
    "limits.slice = 'a--b.slice'": 'limits.slice: "a--b.slice" is not allowed: a slice is named like',
    "limits.slice = 'web1.scope'": "limits.slice",
    "limits.cpu-quota = 0": "limits.cpu-quota",
    "limits.oom-score-adjust = 1001": "limits.oom-score-adjust",
    "[disk.a]\nfile = '/a'\n[parallel.a]\nfile = '/b'": 'parallel.a: the id "a" is taken by [disk.a]',
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_does_not_go_together_is_told(text: str, tmp_path: Path) -> None:
    found = problems(tmp_path, text)
    assert any(WRONG[text] in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        MICROVM + "serial.a.type = 'virtio'\nwatchdog.model = 'ib700'\npanic.enabled = true",
        "machine.accel = 'auto'\nclock.pit-tick = 'delay'\nhyperv.enabled = true",
        "".join(f"serial.{name}.type = 'virtio'\n" for name in "abcdefgh"),
        "machine.usb = 'none'\ndisplay.type = 'vnc'\ninput.keyboard = 'virtio'\ndisk.a.file = '/a'",
        "[credential.a]\ntext = 'b'\nname = 'vmm.notify_socket'",
        "ready = { check = 'http', url = 'http://[::1]:8080/x' }",
        "smbios = { bios-date = '12/31/2026', bios-release = '0.255' }",
    ],
)
def test_what_does_is_not(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == []


def test_no_message_shows_a_credential(tmp_path: Path) -> None:
    for bad in (r"hush\u0000", "hush" * 5000):
        found = problems(tmp_path, f'credential.a.text = "{bad}"')
        assert "credential.a.text: what stands there is" in found[0]
        assert "hush" not in found[0]
