"""Processes with their children, and what the kernel is told of a process's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsup.proc import memory
from qsup.proc.family import family
from qsup.proc.identity import Identity
from qsup.proc.process import Process
from qsup.spawn import numa


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process with a child that has a child: the first, and the pids of the others."""
    shell = "sleep 1000 & echo $!; wait"
    words = ["sh", "-c", f"sh -c '{shell}' & echo $!; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        child, grandchild = sorted(int(process.stdout.readline()) for _ in range(2))
        yield process, child, grandchild
        os.killpg(process.pid, 9)


def held(pid: int) -> Process:
    identity = Identity(pid=pid, start_time=0, boot_id="", token="")
    return Process(identity, os.pidfd_open(pid))


def test_a_family_is_all_that_a_process_has_started(parent: tuple[subprocess.Popen[str], int, int]) -> None:
    process, child, grandchild = parent
    one = held(process.pid)
    with family([one]) as pids:
        assert set(pids) == {process.pid, child, grandchild}
        numbers = [
            line.split()[1]
            for fd in pids.values()
            for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
            if line.startswith("Pid:")
        ]
        assert sorted(map(int, numbers)) == sorted(pids)
        # The process may be forgotten meanwhile: the fds are the family's own.
        one.close()
        assert all(os.fstat(fd) for fd in pids.values())
    for fd in pids.values():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    with family([one]) as pids:
        assert not pids


def test_children_get_a_numa_policy_and_the_parent_keeps_its_own() -> None:
    code = """
import os, subprocess, sys
from qsup.spawn.numa import policy_of_children
def policies(pid):
    return {line.split()[1] for line in open(f"/proc/{pid}/numa_maps")}
source, to = os.pipe()
back, sink = os.pipe()
with policy_of_children("bind", {0}):
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, setsid=True,
        file_actions=[(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, sink, 1)])
os.write(to, b"!")
os.read(back, 1)
print(policies(pid), policies("self"))
os.kill(pid, 9)
"""
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel knows no NUMA")
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'bind:0'} {'default'}"


def test_a_node_that_is_not_there_is_told() -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel knows no NUMA")
    with (
        pytest.raises(OSError, match="the NUMA policy cannot be set: there is no such NUMA node"),
        numa.policy_of_children("bind", {1000}),
    ):
        pass


def test_how_readily_a_process_is_ended_is_written_to_the_kernel() -> None:
    with subprocess.Popen(["sleep", "1000"]) as sleep:
        value = memory.own_oom_score_adjust() + 7
        memory.adjust_oom_score(sleep.pid, value)
        assert Path(f"/proc/{sleep.pid}/oom_score_adj").read_text() == f"{value}\n"
        sleep.kill()
