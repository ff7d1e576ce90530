"""The guests of a storm: small machines under different policies, most of them real."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fakes import fake_qemu
from tests.functional import boot_sector

SOURCE = Path(__file__).with_name("guest.S")
IMAGE_SIZE = 1 << 20
UID = 70001
HALT = bytes.fromhex("b0ff e621 e6a1 fb f4 ebfd")
"""At the reset vector: mask all interrupts, then rest with interrupts on."""

BLANK = """
[machine]
type = "{machine}"
accel = "{accel}"
firmware-code = "{files}/halt.bin"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
"""
"""A machine whose firmware does nothing but rest: it is there in milliseconds, and costs nothing.

Any host can give its CPU, and it needs no more.
"""
SECTOR = """
[machine]
type = "pc"
accel = "tcg"
[memory]
size = "16 MiB"
[disk.root]
file = "{disks}/{name}.img"
format = "raw"
bus = "ide"
werror = "{werror}"
[boot]
order = ["root"]
[serial.console]
log-size = "64 KiB"
[panic]
enabled = true
"""
"""The guest of ``guest.S``."""
FAKE = """
[machine]
accel = "tcg"
[memory]
size = "16 MiB"
[qemu]
binary = "{fakes}/{name}/qemu"
start-timeout = "2 s"
[hang]
qemu-timeout = "1 s"
stage-wait = "300 ms"
"""
RESTART = """
[restart]
policy = "{policy}"
delay = "100 ms"
max-delay = "200 ms"
limit = {limit}
[restart.on]
{rules}
"""


@dataclass(frozen=True)
class Guest:
    """One of them, and what the suite has to know of its file."""

    name: str
    body: str = BLANK
    machine: str = "q35"
    accel: str = "tcg"
    werror: str = "enospc"
    autostart: bool = True
    after: tuple[str, ...] = ()
    policy: str = "on-failure"
    limit: int = 0
    rules: Mapping[str, str] = field(default_factory=dict)
    stop: str = "methods = []"
    more: str = ""
    helper: str | None = None
    """The program that it needs."""
    is_confined: bool = False
    """Whether its QEMU runs as a user of its own, where root runs the storm."""
    hangs: bool = False
    """That its QEMU is stopped is noticed within a second, and mended by a signal."""

    @property
    def needs_helper(self) -> bool:
        """Whether its QEMU cannot go on without its helper; a passt is replaced."""
        return self.helper == "swtpm"

    @property
    def has_keys(self) -> bool:
        """Whether it does something at a key."""
        return self.body is SECTOR

    @property
    def user(self) -> int | None:
        """The number of the user that its QEMU runs as; None for the daemon's own."""
        return UID if self.is_confined and os.geteuid() == 0 else None

    @property
    def is_fake(self) -> bool:
        """Whether its QEMU is none."""
        return self.body is FAKE

    def text(self, places: Mapping[str, Path], edition: int = 0) -> str:
        """Its file. An edition differs from the others in what counts at once and in what counts at the next start."""
        values = {"name": self.name, "machine": self.machine, "accel": self.accel, "werror": self.werror}
        body = self.body.format(**values, **places)
        if edition:
            body = body.replace('size = "16 MiB"', f'size = "{16 + edition % 4} MiB"')
        rules = "\n".join(f'{cause} = "{reaction}"' for cause, reaction in self.rules.items())
        head = f'description = "edition {edition}"\nautostart = {str(self.autostart).lower()}\n'
        head += f"after = {list(self.after)}\n".replace("'", '"')
        restart = RESTART.format(policy=self.policy, limit=self.limit, rules=rules)
        more = self.more.format(**places)
        if self.user is not None:
            more += f'[qemu]\nuser = "{self.user}"\n'
        return f"{head}{body}{more}{restart}[stop]\n{self.stop}\n"


BUTTON = 'methods = ["acpi"]\nrepeat = "200 ms"\ntimeout = "3 s"'
NOBODY = 'methods = ["agent", "acpi"]\nrepeat = "100 ms"\ntimeout = "400 ms"'
TPM = "[tpm]\nenabled = true\n"
PASST = '[nic.lan]\ntype = "passt"\n'
QUICK = '[hang]\nqemu-timeout = "1 s"\nstage-wait = "400 ms"\n'
SAYS_UP = '[ready]\ncheck = "console"\ntext = "up"\ninterval = "100 ms"\ntimeout = "5 s"\n'

ALL = (
    Guest("plain", accel="auto"),
    Guest("second", after=("plain",), is_confined=True),
    Guest("third", after=("second", "plain"), accel="auto", machine="microvm"),
    Guest("fourth", after=("third",), machine="pc"),
    Guest("always", policy="always", accel="auto"),
    Guest("never", policy="never"),
    Guest("limited", limit=3, machine="microvm"),
    Guest("lenient", limit=1000, machine="microvm", accel="auto"),
    Guest("stays", rules={"qemu-signal": "stop", "unknown": "stop"}),
    Guest("manual", autostart=False, accel="auto"),
    Guest("idle", autostart=False, machine="pc"),
    Guest("deaf", stop=NOBODY, more="[agent]\nenabled = true\n"),
    Guest("chip", more=TPM, helper="swtpm", accel="auto"),
    Guest("chip2", more=TPM, helper="swtpm", policy="always", is_confined=True),
    Guest("wire", more=PASST, helper="passt"),
    Guest("pulse", more=QUICK, hangs=True, accel="auto"),
    Guest("pulse2", more=QUICK, hangs=True, is_confined=True),
    Guest(
        "made",
        more='[disk.new]\nfile = "{disks}/made.qcow2"\nformat = "qcow2"\ncreate = "1 MiB"\n',
        is_confined=True,
    ),
    Guest("boots", SECTOR, stop=BUTTON),
    Guest("after", SECTOR, stop=BUTTON, after=("boots",), more=SAYS_UP),
    Guest("kept", SECTOR, rules={"guest-panic": "pause", "guest-shutdown": "restart"}),
    Guest(
        "again",
        SECTOR,
        is_confined=True,
        rules={"guest-reset": "restart", "triple-fault": "restart"},
        policy="always",
    ),
    Guest("full", SECTOR, stop=BUTTON, is_confined=True),
    Guest("floods", SECTOR, werror="report"),
    Guest("fake", FAKE),
    Guest("fake2", FAKE, limit=1000),
)


def fleet(names: tuple[str, ...] = ()) -> tuple[list[Guest], list[str]]:
    """The guests that this host can run, of those named or of all; and what is left out, with the reason."""
    chosen, left_out = [], []
    for guest in ALL:
        if names and guest.name not in names:
            continue
        if guest.helper and shutil.which(guest.helper) is None:
            left_out.append(f"the guest {guest.name}: {guest.helper} is not installed")
        else:
            chosen.append(guest)
    known = {guest.name for guest in chosen}
    return [
        replace(one, after=tuple(name for name in one.after if name in known)) for one in chosen
    ], left_out


def build(places: Mapping[str, Path], guests: list[Guest]) -> None:
    """Make what they boot from."""
    files = places["files"]
    firmware = bytearray(1 << 16)
    firmware[-16 : -16 + len(HALT)] = HALT
    (files / "halt.bin").write_bytes(firmware)
    (files / "guest.bin").write_bytes(boot_sector.linked(SOURCE.read_text()))
    for guest in guests:
        if guest.has_keys:
            image(places, guest)
        if guest.is_fake:
            (places["fakes"] / guest.name).mkdir()
            fake_qemu.install(places["fakes"] / guest.name)


def image(places: Mapping[str, Path], guest: Guest) -> None:
    """A disk whose second sector and all that follow have no room yet."""
    with (places["disks"] / f"{guest.name}.img").open("wb") as file:
        file.write((places["files"] / "guest.bin").read_bytes())
        file.truncate(IMAGE_SIZE)
