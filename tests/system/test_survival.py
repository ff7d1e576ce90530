"""Twenty guests, and a daemon that is restarted, killed, frozen, stopped: none of them notices.

Each guest is a boot sector that writes a line for every second of its clock into a file, by a serial port that is the
file's alone: its number, and the second. A QEMU that was stopped for more than a second would have left out a second,
one that was started anew would count from the beginning, and a second one beside it would write each second twice.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.functional.boot_sector import assembled
from tests.system.host import DEADLINE, Host

HERD: Final = [f"g{number:02}" for number in range(20)]
BOOTS: Final = 180.0
"""Seconds for all of them to boot: in a machine that is one itself, KVM may take seconds for each."""
BEATER: Final = """
.intel_syntax noprefix
        ljmp    0, offset main
main:   xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     dx, 0x2fb               # the second serial port: 8 data bits, FIFOs on
        mov     al, 3
        out     dx, al
        mov     dx, 0x2fa
        mov     al, 7
        out     dx, al
idle:   sti                             # until the timer's next tick, 18 a second
        hlt
        mov     al, 0x0a                # the clock: not while it is being set
        out     0x70, al
        in      al, 0x71
        test    al, 0x80
        jnz     idle
        xor     al, al
        out     0x70, al
        in      al, 0x71
        cmp     al, [second]
        je      idle
        mov     [second], al
        inc     word ptr [count]
        mov     ax, [count]
        push    ax
        mov     al, ah
        call    byte_
        pop     ax
        call    byte_
        mov     al, ' '
        call    char
        mov     al, [second]
        call    byte_
        mov     al, 10
        call    char
        jmp     idle
byte_:  push    ax
        shr     al, 4
        call    digit
        pop     ax
digit:  and     al, 15
        add     al, '0'
        cmp     al, '9'
        jbe     char
        add     al, 'a' - '0' - 10
char:   mov     ah, al
        mov     dx, 0x2fd
1:      in      al, dx
        test    al, 0x20
        jz      1b
        mov     dx, 0x2f8
        mov     al, ah
        out     dx, al
        ret
second: .byte   0xff
count:  .word   0
"""
GUEST: Final = """
[machine]
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[disk.root]
file = "{image}"
format = "raw"
read-only = true
[boot]
order = ["root"]
[stop]
methods = []
[qemu]
args = ["-chardev", "file,id=beats,path={beats},append=on", "-device", "isa-serial,chardev=beats,iobase=0x2f8,irq=3"]
files = ["{beats}"]
"""


class Herd:
    """The guests, as they were at the beginning."""

    def __init__(self, here: Host, directory: Path) -> None:
        self.host = here
        self._directory = directory
        self.pids = self._pids()
        self._begun = {name: self._start_time(pid) for name, pid in self.pids.items()}

    def _pids(self) -> dict[str, int]:
        return {facts["name"]: facts["pid"] for facts in json.loads(self.host.qsup("list", "--json"))}

    def _start_time(self, pid: int) -> str:
        return self.host.run("cut", "-d", " ", "-f", "22", f"/proc/{pid}/stat")

    def beats(self, name: str) -> list[tuple[int, int]]:
        """What a guest has written in whole lines: its numbers, and the seconds of its clock."""
        lines = (self._directory / f"{name}.beats").read_text().split("\n")[:-1]
        return [(int(number, 16), int(second)) for number, second in map(str.split, lines)]

    def lives_on(self, deadline: float = DEADLINE) -> None:
        """Wait until every guest has beaten twice more."""
        before = {name: len(self.beats(name)) for name in HERD}
        self.host.until(lambda: all(len(self.beats(name)) >= before[name] + 2 for name in HERD), deadline)

    def is_whole(self) -> None:
        """Zero lost, doubled, missed."""
        self.lives_on()
        for name in HERD:
            beats = self.beats(name)
            assert [number for number, _ in beats] == [*range(1, len(beats) + 1)], (
                f"{name} was started anew or twice"
            )
            gaps = {(after - before) % 60 for (_, before), (_, after) in itertools.pairwise(beats)}
            assert gaps == {1}, f"{name} stood still: {beats}"
        facts = json.loads(self.host.qsup("list", "--json"))
        assert {(one["phase"], one["restarts"]) for one in facts} == {("running", 0)}
        assert self._pids() == self.pids
        assert {name: self._start_time(pid) for name, pid in self.pids.items()} == self._begun
        assert len(self.host.run("pgrep", "--exact", "qemu-system-x86").split()) == len(HERD)


@pytest.fixture(scope="module")
def herd(shared_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """Twenty guests that beat."""
    directory = shared_host.directory.parent / "herd"
    directory.mkdir()
    image = directory / "beater.img"
    image.write_bytes(assembled(BEATER))
    for name in HERD:
        text = GUEST.replace("{image}", str(image)).replace("{beats}", str(directory / f"{name}.beats"))
        shared_host.write(name, text)
    shared_host.qsup("reload")
    shared_host.qsup("start", "--all")
    shared_host.until(lambda: all((directory / f"{name}.beats").exists() for name in HERD))
    made = Herd(shared_host, directory)
    made.lives_on(BOOTS)
    yield made
    shared_host.clear()


def restart(here: Host) -> None:
    here.systemctl("restart", "qsupd")


def kill(here: Host) -> None:
    here.systemctl("kill", "--signal=KILL", "--kill-who=main", "qsupd")


def freeze(here: Host) -> None:
    """Have the watchdog find it frozen: the signal that this sends is not heard, the next one is not asked."""
    here.drop_in("qsupd.service", "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n")
    here.systemctl("restart", "qsupd")
    here.systemctl("kill", "--signal=STOP", "--kill-who=main", "qsupd")
    here.until(lambda: here.show("qsupd", "NRestarts") != "0")
    assert "Watchdog timeout" in here.journal("--unit=qsupd")
    here.drop_in("qsupd.service", "")


def reexec(here: Host) -> None:
    """systemd itself is another program then; what it keeps it keeps, and the daemon may go and come as before."""
    kept = here.show("qsupd", "NFileDescriptorStore")
    here.systemctl("daemon-reexec")
    assert here.show("qsupd", "NFileDescriptorStore") == kept == str(2 * len(HERD))
    kill(here)


def stop_and_start(here: Host) -> None:
    here.systemctl("stop", "qsupd.socket", "qsupd.service")
    assert here.main_pid() == 0
    here.systemctl("start", "qsupd")


def spawner_too(here: Host) -> None:
    """What the guests' QEMUs are children of goes as well, first killed and then restarted beside the daemon."""
    before = here.main_pid("qsup-spawn.service")
    here.systemctl("kill", "--signal=KILL", "--kill-who=main", "qsup-spawn")
    here.until(lambda: here.main_pid("qsup-spawn.service") not in (0, before))
    here.systemctl("restart", "qsup-spawn.socket", "qsup-spawn.service", "qsupd.service")


@pytest.mark.parametrize(
    "what", [restart, kill, freeze, reexec, stop_and_start, spawner_too], ids=lambda what: what.__name__
)
def test_no_guest_notices(what: Callable[[Host], None], herd: Herd) -> None:
    here, before = herd.host, herd.host.main_pid()
    what(here)
    here.until(lambda: here.main_pid() not in (0, before) and here.show("qsupd", "ActiveState") == "active")
    herd.is_whole()
    assert {one["adopted"] for one in json.loads(here.qsup("status", "--json"))} == {True}
    here.until(lambda: here.show("qsupd", "NFileDescriptorStore") == str(2 * len(HERD)))


def test_how_a_guest_ended_while_the_daemon_was_away_is_told(herd: Herd) -> None:
    here, name = herd.host, HERD[-1]
    here.drop_in("qsupd.service", "[Service]\nRestartSec=2s\n")
    kill(here)
    here.until(lambda: here.show("qsupd", "SubState") == "auto-restart")
    here.run("kill", "-TERM", str(herd.pids[name]))
    here.run("sh", "-c", f"while test -e /proc/{herd.pids[name]}/exe; do :; done")
    end = here.status(name)["last-end"]
    here.drop_in("qsupd.service", "")
    assert end["cause"] == "qemu-signal"
    assert end["detail"].startswith("QEMU got signal 15 from pid ")
    assert "QEMU's event SHUTDOWN: reason host-signal" in end["evidence"], (
        "its last event waited in the FD store"
    )
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15):
        here.until(lambda: here.status(name)["last-end"]["status"] == "exit 0")
    assert "signal 15" in here.journal("QSUP_EVENT=GUEST_ENDED", f"QSUP_GUEST={name}")
