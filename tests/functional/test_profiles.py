"""Every profile has a sample guest, and each sample boots something real, under the daemon as a user would start it.

What stands in for Windows is Linux: it has no business with what it finds, but names the devices as Windows would.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from qsup.spec.load import load
from tests.conftest import IMAGES, ROOT, build_linux_guest
from tests.functional.boot_sector import assembled
from tests.functional.harness import site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.functional.harness import Site

UP: Final = "linux: beat 1"
"""The guest's shell has been there for a while: as it starts it drops what is typed."""
ADDRESS: Final = "linux: eth0 has the address 10.0.2.15"
NEEDS: Final = {
    "windows": ("/usr/share/OVMF/OVMF_CODE_4M.fd",),
    "secure": ("/usr/bin/swtpm", "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"),
}
"""What a sample needs of the host beside QEMU."""
BOOT: Final = 180
"""Seconds that a boot may take on a busy host; 10 to 20 are usual."""
AHEAD: Final = timedelta(hours=5, minutes=30)
"""What the daemon's clock is ahead of UTC, where a test says so; no usual host is there."""
SHOW_HYPERVISOR: Final = """
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movl $0x40000000, %eax          # the leaf in which a hypervisor names itself
    cpuid
    pushl %edx
    pushl %ecx
    pushl %ebx
    movw %sp, %si
    movw $12, %cx
    movw $0x3f8, %dx
1:  lodsb
    outb %al, %dx
    loop 1b
2:  cli
    hlt
    jmp 2b
"""


@pytest.fixture
async def samples(tmp_path_factory: pytest.TempPathFactory, qemu_binary: str) -> AsyncIterator[Site]:
    """A site with the samples of the checkout, none of which is started by itself."""
    # The path of a screen's socket has to be short, and a test's name is not.
    async with site(tmp_path_factory.mktemp("s")) as made:
        (made.config / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
        (made.config / "images").mkdir()
        for folder in ("guests", "profiles"):
            shutil.copytree(ROOT / "configs" / folder, made.config / folder, dirs_exist_ok=True)
        for file in (made.config / "guests").iterdir():
            file.write_text(file.read_text().replace("autostart = true", "autostart = false"))
        yield made


def lend(site: Site, variant: str) -> None:
    """Build what a sample boots, and let the site have it; what a guest writes stays in the site."""
    build_linux_guest(variant)
    for image in IMAGES.glob(f"{variant}.*"):
        (site.config / "images" / image.name).symlink_to(image)


async def start(site: Site, name: str, variant: str, printed: str = UP) -> None:
    """Start a sample and wait until its guest is up."""
    for file in NEEDS.get(name, ()):
        if not Path(file).exists():
            pytest.skip(f"{file} is not installed")
    lend(site, variant)
    await site.start()
    await site.run("guest-start", name=name)
    await site.prints(name, printed, within=BOOT)


async def asked(site: Site, name: str, command: str, pattern: str) -> str:
    """Type a command into the guest's shell; returns what the pattern's group finds in the lines of its answer.

    A serial port has no flow control: a busy guest may lose what is typed, and then it is typed again.
    """
    for _ in range(20):
        before = len(site.printed(name))
        await site.types(name, f"{command}\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while not (found := re.search(pattern, site.printed(name)[before:], re.MULTILINE)):
                    # The log is a file, whose growth no event announces.
                    await asyncio.sleep(0.02)
                return found[1]
    pytest.fail(f"{name} does not answer: {site.printed(name)[-2000:]}")


async def driver(site: Site, name: str, device: str) -> str:
    """The guest's driver of the PCI device at or above a path in its sysfs."""
    look = f"basename $(readlink -f {device}/driver) | sed s/^/driver-/"
    return await asked(site, name, look, r"^driver-(\w+)$")


async def stops_by_itself(site: Site, name: str, method: str = "acpi") -> None:
    """The guest is asked, and powers itself off."""
    await site.run("guest-stop", name=name)
    view = await site.view(name)
    assert (view["cause"], view["stopped-by"]) == ("operator", method)


@pytest.mark.linux_guest
@pytest.mark.timeout(BOOT + 120)
async def test_a_32_bit_linux_sees_a_32_bit_processor(samples: Site) -> None:
    await start(samples, "linux-32bit", "linux32")
    assert await asked(samples, "linux-32bit", "uname -m", r"^(i\d86)$") == "i686"
    count = "grep -c ' lm ' /proc/cpuinfo | sed s/^/long-mode-/"
    assert await asked(samples, "linux-32bit", count, r"^long-mode-(\d)$") == "0"
    status, out, err = await samples.cli("argv", "linux-32bit")
    assert (status, err) == (0, "")
    assert "linux32.vmlinuz" in out
    await stops_by_itself(samples, "linux-32bit", "agent")


@pytest.mark.linux_guest
@pytest.mark.timeout(2 * BOOT + 120)
async def test_a_32_bit_windows_starts_on_what_it_knows_and_moves_to_virtio_by_a_profile(
    samples: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "TEST-05:30")
    name = "windows-32bit"
    await start(samples, name, "pc32")
    assert await driver(samples, name, "/sys/block/sda/device/../../../..") == "ata_piix"
    assert await driver(samples, name, "/sys/class/net/eth0/device") == "e1000"
    await samples.prints(name, ADDRESS)
    assert await asked(samples, name, "ping -c 1 10.0.2.2", r"(\d) packets received") == "1"
    await shows_local_time(samples, name)
    await stops_by_itself(samples, name)
    await moves_to_virtio(samples, name)


async def shows_local_time(site: Site, name: str) -> None:
    """Windows takes what the clock on the board shows for the time of the place, and so it has to be."""
    date = await asked(site, name, "cat /sys/class/rtc/rtc0/date", r"^(\d{4}-\d\d-\d\d)$")
    time = await asked(site, name, "cat /sys/class/rtc/rtc0/time", r"^(\d\d:\d\d:\d\d)$")
    shown = datetime.fromisoformat(f"{date}T{time}+00:00") - AHEAD
    assert abs(datetime.now(UTC) - shown) < timedelta(minutes=2)


async def moves_to_virtio(site: Site, name: str) -> None:
    """With one more profile the same disk boots from virtio."""
    to = f'profile=["{name}", "windows-virtio"]'
    status, _, err = await site.cli("set", name, to)
    assert (status, err) == (0, "")
    await site.run("guest-start", name=name)
    await site.prints(name, UP, times=2, within=BOOT)
    assert await driver(site, name, "/sys/block/vda/device") == "virtio_blk"
    assert await driver(site, name, "/sys/class/net/eth0/device") == "virtio_net"
    await site.prints(name, ADDRESS, times=2)
    await stops_by_itself(site, name, "agent")


@pytest.mark.linux_guest
@pytest.mark.timeout(BOOT + 120)
async def test_a_64_bit_windows_starts_by_uefi_on_what_it_knows(
    samples: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "TEST-05:30")
    await start(samples, "windows", "pc64")
    assert await asked(samples, "windows", "ls -d /sys/firmware/e*", r"^/sys/firmware/(efi)$") == "efi"
    assert await driver(samples, "windows", "/sys/block/sda/device/../../../..") == "ahci"
    assert await driver(samples, "windows", "/sys/class/net/eth0/device") == "e1000"
    await samples.prints("windows", ADDRESS)
    await shows_local_time(samples, "windows")
    await stops_by_itself(samples, "windows")


@pytest.mark.linux_guest
@pytest.mark.timeout(BOOT + 120)
async def test_an_old_pc_boots_from_the_mbr_of_an_ide_disk_and_has_nothing_of_virtio(samples: Site) -> None:
    name = "legacy-bios"
    await start(samples, name, "pc32")
    assert samples.printed(name).lstrip().startswith("SYSLINUX")
    assert await driver(samples, name, "/sys/block/sda/device/../../../..") == "ata_piix"
    assert await driver(samples, name, "/sys/class/net/eth0/device") == "8139cp"
    await samples.prints(name, ADDRESS)
    virtio = "grep -lx 0x1af4 /sys/bus/pci/devices/*/vendor | wc -l | sed s/^/virtio-/"
    assert await asked(samples, name, virtio, r"^virtio-(\d+)$") == "0"
    keyboard = "grep -c 'AT Translated' /proc/bus/input/devices | sed s/^/keyboards-/"
    assert await asked(samples, name, keyboard, r"^keyboards-(\d)$") == "1"
    await stops_by_itself(samples, name)


@pytest.mark.linux_guest
@pytest.mark.timeout(BOOT + 120)
async def test_a_secure_guest_boots_what_is_signed_and_has_a_tpm(samples: Site) -> None:
    await start(samples, "secure", "pc64")
    # An EFI variable begins with four bytes of attributes.
    variable = "od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-* | sed s/^/secure-/"
    assert await asked(samples, "secure", variable, r"^secure-(?: +\d+){4} +(\d)$") == "1"
    version = "sed s/^/tpm-/ /sys/class/tpm/tpm0/tpm_version_major"
    assert await asked(samples, "secure", version, r"^tpm-(\d)$") == "2"
    assert await asked(samples, "secure", "ls /dev/tpm0", r"^(/dev/tpm0)$") == "/dev/tpm0"
    await stops_by_itself(samples, "secure", "agent")


@pytest.mark.linux_guest
@pytest.mark.timeout(BOOT + 120)
async def test_a_secure_guest_refuses_a_loader_that_is_not_as_it_was_signed(samples: Site) -> None:
    build_linux_guest("pc64")
    signed = (IMAGES / "pc64.img").read_bytes()
    # Words in the programs that nobody ever sees; they would run as well as before.
    assert b"DOS mode" in signed
    (samples.config / "images/tampered.img").write_bytes(signed.replace(b"DOS mode", b"dos mode"))
    add = samples.config / "guests/secure.toml.d"
    add.mkdir()
    (add / "tampered.toml").write_text('disk.root.file = "images/tampered.img"\n')
    await start(samples, "secure", "pc64", "Access Denied")
    assert "GRUB" not in samples.printed("secure")


@pytest.mark.kvm
async def test_a_windows_under_kvm_sees_hyper_v(samples: Site) -> None:
    """Under TCG there is none. What needs registers of its own, a KVM in a guest may not have; so it is left out."""
    (samples.config / "images/sector.img").write_bytes(assembled(SHOW_HYPERVISOR))
    samples.guest("w", BOOT_SECTOR.format(profile="windows-32bit") + WITHOUT_REGISTERS)
    await samples.start()
    assert ",hv-relaxed=on," in (await samples.cli("argv", "w"))[1]
    await samples.run("guest-start", name="w")
    async with asyncio.timeout(60):
        while len(shown := samples.printed("w").rstrip("\0")) < len("KVMKVMKVM"):
            await asyncio.sleep(0.02)
    if shown.startswith("KVM"):
        pytest.skip("the KVM of this host names itself, though QEMU has asked for Hyper-V")
    await samples.prints("w", "Microsoft Hv")


@pytest.mark.kvm
async def test_an_old_pc_boots_under_kvm(samples: Site, heartbeat_image: Path) -> None:
    shutil.copy(heartbeat_image, samples.config / "images/sector.img")
    samples.guest("old", BOOT_SECTOR.format(profile="legacy-bios"))
    await samples.start()
    await samples.run("guest-start", name="old")
    await samples.prints("old", "beat 1")
    await stops_by_itself(samples, "old")


WITHOUT_REGISTERS: Final = """
[hyperv]
vpindex = false
vapic = false
time = false
"""
BOOT_SECTOR: Final = """
profile = ["{profile}"]
[cpu]
model = "qemu64"
[memory]
size = "64 MiB"
[disk.root]
file = "images/sector.img"
format = "raw"
[serial.console]
"""


def test_every_profile_is_used_by_a_sample() -> None:
    configuration = load(ROOT / "configs")
    used = {profile for guest in configuration.guests.values() for profile in guest.profile}
    profiles = {path.stem for path in (ROOT / "configs/profiles").glob("*.toml")}
    assert profiles - used == {"windows-virtio"}, "which a test above merges after another one"
