"""The sample guests do on a real QEMU what their sources say, so that other tests may build on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.functional.bare_qemu import BareQemu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MACHINES = ["q35", "pc"]


def heartbeat(qemu: str, image: Path, machine: str, accel: str = "tcg") -> BareQemu:
    return BareQemu(
        qemu,
        *("-machine", machine, "-accel", accel, "-m", "32"),
        *(
            "-drive",
            f"file={image},format=raw,if=none,id=root,read-only=on",
            "-device",
            "virtio-blk-pci,drive=root",
        ),
        *("-device", "isa-debug-exit", "-device", "pvpanic"),
    )


@pytest.fixture(params=MACHINES)
def guest(request: pytest.FixtureRequest, qemu_binary: str, heartbeat_image: Path) -> Iterator[BareQemu]:
    """The heartbeat guest under TCG, past its first beat."""
    with heartbeat(qemu_binary, heartbeat_image, request.param) as guest:
        guest.serial.expect(b"beat 1\r\n")
        yield guest


def test_the_heartbeat_is_a_boot_sector_on_a_small_disk(heartbeat_image: Path) -> None:
    content = heartbeat_image.read_bytes()
    assert len(content) == 1 << 20
    assert content[510:512] == b"\x55\xaa"
    assert not any(content[512:])


def test_it_names_its_keys_and_then_counts(qemu_binary: str, heartbeat_image: Path) -> None:
    with heartbeat(qemu_binary, heartbeat_image, "q35") as guest:
        assert guest.serial.expect(b"beat 3\r\n") == (
            b"heartbeat: keys p=power-off e=debug-exit r=reset t=triple-fault "
            b"c=panic h=hang i=ignore-power-button\r\nbeat 1\r\nbeat 2\r\nbeat 3\r\n"
        )


@pytest.mark.kvm
def test_it_beats_under_kvm(qemu_binary: str, heartbeat_image: Path) -> None:
    with heartbeat(qemu_binary, heartbeat_image, "q35", accel="kvm") as guest:
        guest.serial.expect(b"beat 1\r\n")
        guest.serial.send(b"p")
        assert guest.event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}


def test_p_powers_off(guest: BareQemu) -> None:
    guest.serial.send(b"p")
    assert guest.event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}
    assert guest.status() == "shutdown"


def test_e_ends_qemu_with_status_33(guest: BareQemu) -> None:
    guest.serial.send(b"e")
    assert guest.wait() == 33


@pytest.mark.parametrize("key", [b"r", b"t"], ids=["reset", "triple fault"])
def test_r_and_t_reset_and_it_counts_from_one_again(guest: BareQemu, key: bytes) -> None:
    guest.serial.send(key)
    assert guest.event("RESET") == {"guest": True, "reason": "guest-reset"}
    guest.serial.expect(b"heartbeat: keys")
    guest.serial.expect(b"beat 1\r\n")


def test_c_panics(guest: BareQemu) -> None:
    guest.serial.send(b"c")
    assert guest.event("GUEST_PANICKED") == {"action": "pause"}
    assert guest.status() == "guest-panicked"


def test_h_hangs_and_only_a_reset_from_outside_helps(guest: BareQemu) -> None:
    guest.serial.send(b"h")
    guest.serial.expect(b"hang\r\n")
    guest.execute("system_powerdown")
    guest.event("POWERDOWN")
    assert guest.status() == "running"
    guest.execute("system_reset")
    assert b"beat" not in guest.serial.expect(b"heartbeat: keys").removesuffix(b"heartbeat: keys")


def test_the_power_button_switches_it_off(guest: BareQemu) -> None:
    guest.execute("system_powerdown")
    guest.serial.expect(b"power button\r\n")
    assert guest.event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}


def test_after_i_every_press_of_the_power_button_is_ignored(guest: BareQemu) -> None:
    guest.serial.send(b"i")
    guest.serial.expect(b"ignoring the power button\r\n")
    for _ in range(2):
        guest.execute("system_powerdown")
        guest.serial.expect(b"ignored\r\n")
    guest.serial.expect(b"beat")
    assert guest.status() == "running"


def test_other_keys_change_nothing(guest: BareQemu) -> None:
    guest.serial.send(b"x\r\n\x00\xff")
    guest.serial.expect(b"beat")
    assert guest.status() == "running"


def test_idling_costs_next_to_no_processor_time(guest: BareQemu) -> None:
    before = cpu_seconds(guest.process.pid)
    guest.serial.expect(b"beat 4\r\n")
    assert cpu_seconds(guest.process.pid) - before < 1.0


@pytest.fixture
def linux(qemu_binary: str, linux_guest: tuple[Path, Path]) -> Iterator[BareQemu]:
    """The Linux guest under TCG, up, with the agent's channel as the line ``agent``."""
    kernel, initrd = linux_guest
    arguments = [
        *("-machine", "q35", "-accel", "tcg", "-m", "256", "-device", "pvpanic"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"),
        *(
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ),
    ]
    with BareQemu(qemu_binary, *arguments, lines=["agent"]) as guest:
        guest.serial.expect(b"linux: up\r\n")
        yield guest


@pytest.mark.linux_guest
def test_linux_beats_and_gives_a_root_shell(linux: BareQemu) -> None:
    linux.serial.expect(b"linux: beat 1\r\n")
    linux.serial.send(b"id -u | sed s/^/user-/\n")
    linux.serial.expect(b"user-0\r\n")


@pytest.mark.linux_guest
def test_linux_powers_off_when_the_button_is_pressed(linux: BareQemu) -> None:
    linux.execute("system_powerdown")
    assert linux.event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}
    assert linux.status() == "shutdown"


@pytest.mark.linux_guest
def test_linux_panics_on_request(linux: BareQemu) -> None:
    linux.serial.send(b"echo c >/proc/sysrq-trigger\n")
    assert linux.event("GUEST_PANICKED") == {"action": "pause"}
    assert linux.status() == "guest-panicked"


@pytest.mark.linux_guest
def test_the_agent_in_linux_answers_and_shuts_down(linux: BareQemu, linux_guest: tuple[Path, Path]) -> None:
    if b"usr/sbin/qemu-ga" not in linux_guest[1].read_bytes():
        pytest.skip("no guest agent could be put into the Linux guest on this host")
    agent = linux.lines["agent"]
    agent.send(b'{"execute":"guest-ping","id":1}\n')
    assert json.loads(agent.expect(b"\n")) == {"return": {}, "id": 1}
    agent.send(b'{"execute":"guest-shutdown"}\n')
    assert linux.event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100
