"""Kills for want of memory, as the kernel's log tells of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsup import clock
from qsup.proc.oom import KEPT, OomLog

CGROUP = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/machine,"
    "task_memcg=/machine,task=qemu-system-x86,pid={pid},uid=0"
)
KILLED = "Memory cgroup out of memory: Killed process {pid} (qemu-system-x86) total-vm:1kB, anon-rss:1kB"
HOST = "Out of memory: Killed process {pid} (qemu-system-x86) total-vm:1kB, anon-rss:1kB"


class Kernel:
    """A log that holds what a test writes, one record a read."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.log = OomLog(str(path))
        self._fd = os.open(path, os.O_WRONLY)

    def says(self, text: str, pid: int, at: float) -> None:
        os.write(self._fd, f"3,1,{int(at * 1e6)},-;{text.format(pid=pid)}\n".encode())
        self.log.catch_up()

    def close(self) -> None:
        os.close(self._fd)
        self.log.close()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path / "kmsg")
    yield made
    made.close()


def test_who_was_killed_is_known_and_why(kernel: Kernel) -> None:
    kernel.says(HOST, 7, 100.0)
    kernel.says(CGROUP, 8, 100.0)
    kernel.says(KILLED, 8, 100.0)
    kernel.says("usb 1-1: new device", 9, 100.0)
    told = "the kernel killed QEMU for want of memory: "
    assert kernel.log.of(7, 50.0) == f"{told}the host had no memory left"
    assert kernel.log.of(8, 50.0) == f"{told}its cgroup had reached its memory limit"
    assert kernel.log.of(9, 50.0) is None


def test_the_kill_of_an_earlier_process_with_this_pid_is_none_of_this_one(kernel: Kernel) -> None:
    now = clock.now()
    kernel.says(HOST, 7, now / 2)
    assert kernel.log.of(7, now / 4) is not None
    assert kernel.log.of(7, now) is None
    kernel.says(KILLED, 7, now)
    assert "its cgroup" in str(kernel.log.of(7, now)), "the last kill counts"


def test_only_so_many_are_remembered(kernel: Kernel) -> None:
    for pid in range(1, KEPT + 2):
        kernel.says(HOST, pid, 100.0)
    assert kernel.log.of(1, 0.0) is None
    assert kernel.log.of(KEPT + 1, 0.0) is not None
