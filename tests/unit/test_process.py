"""Processes by pidfd, identity and lock: real processes, no QEMU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from qsup.argv.invocation import LOCK_FD
from qsup.errors import LaunchError
from qsup.proc import lock
from qsup.proc.identity import find_holder, identify, is_qemu
from qsup.proc.process import Process
from qsup.status import ExitStatus

TOKEN = "00112233445566ff"
MARK = f"socket,id=qsup-{TOKEN},fd=4,server=on,wait=off"

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()", MARK]


def shell(script: str) -> list[str]:
    """A command whose own command line carries the token."""
    return ["/bin/sh", "-c", script, "qemu", MARK]


def knows_exit_info() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 15)


def spawn(script: str, fds: dict[int, int] | None = None) -> Process:
    return Process.spawn(shell(script), fds or {}, TOKEN)


async def test_a_child_is_reaped_with_its_status() -> None:
    process = spawn("exit 7")
    assert await process.wait() == ExitStatus("exit", 7)
    process.close()


async def test_a_signal_is_told_from_an_exit() -> None:
    process = spawn("exec sleep 60")
    process.signal(signal.SIGKILL)
    status = await process.wait()
    assert str(status) == "signal 9 (SIGKILL)"
    process.signal(signal.SIGTERM)
    process.close()


async def test_a_binary_that_cannot_be_executed_says_so() -> None:
    with pytest.raises(LaunchError, match="cannot execute /nonexistent/qemu: No such file"):
        Process.spawn(["/nonexistent/qemu"], {}, TOKEN)


async def test_fds_arrive_under_their_numbers_however_they_overlap(tmp_path: Path) -> None:
    """The parent's numbers are the targets of others: a naive sequence of dup2 would lose one of them."""
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for name in "abc"]
    swapped = {fds[0]: fds[1], fds[1]: fds[2], fds[2]: fds[0]}
    script = "".join(f"readlink /proc/self/fd/{number};" for number in fds)
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    process = spawn(script, {**swapped, 1: out})
    await process.wait()
    process.close()
    told = (tmp_path / "out").read_text().split()
    assert [Path(line).name for line in told] == ["b", "c", "a"]
    for fd in (*fds, out):
        os.close(fd)


async def test_nothing_else_of_the_daemon_is_inherited(tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    os.environ["QSUP_TEST_SECRET"] = "1"
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    process = spawn("ls -l /proc/self/fd; env; ps -o sid= -p $$; echo $$", {1: out})
    await process.wait()
    process.close()
    told = (tmp_path / "out").read_text()
    assert "secret" not in told
    assert "QSUP_TEST_SECRET" not in told
    session, pid = told.split()[-2:]
    assert session == pid, "it must lead a session of its own"
    os.close(secret)
    os.close(out)


def stranger() -> int:
    """A process that is nobody's child here: its parent has left."""
    script = (
        f"import subprocess, os; null = subprocess.DEVNULL; print(subprocess.Popen({SLEEPER!r}, stdin=null, "
    )
    script += "stdout=null, stderr=null).pid, flush=True); os._exit(0)"
    return int(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    )


@pytest.mark.skipif(not knows_exit_info(), reason="this kernel has no PIDFD_INFO_EXIT (Linux 6.15)")
async def test_the_kernel_tells_the_exit_status_of_an_adopted_stranger() -> None:
    process = Process.adopt(identify(stranger(), TOKEN))
    assert process is not None
    process.signal(signal.SIGKILL)
    status = await process.wait() or await process.late_status()
    process.close()
    assert status == ExitStatus("signal", 9)


async def test_another_start_time_boot_or_token_is_another_process() -> None:
    process = Process.spawn(SLEEPER, {}, TOKEN)
    identity = process.identity
    adopted = Process.adopt(identity)
    assert adopted is not None
    adopted.close()
    for wrong in (
        msgspec.structs.replace(identity, start_time=identity.start_time + 1),
        msgspec.structs.replace(identity, boot_id="another"),
        msgspec.structs.replace(identity, token="f" * 16),
        msgspec.structs.replace(identity, pid=2**22 - 1),
    ):
        assert Process.adopt(wrong) is None
    process.signal(signal.SIGKILL)
    await process.wait()
    process.close()
    assert Process.adopt(identity) is None


async def test_the_lock_lives_exactly_as_long_as_the_process_that_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    fd = lock.acquire(path)
    stdin, keep = os.pipe2(os.O_CLOEXEC)
    process = spawn("read never; exit 0", {LOCK_FD: fd, 0: stdin})
    os.close(fd)
    os.close(stdin)
    with pytest.raises(LaunchError, match="another process holds the lock"):
        lock.acquire(path)
    assert is_qemu(process.identity), "which waits until its command line is there"
    assert find_holder(path) == (process.pid, TOKEN)
    os.close(keep)
    await process.wait()
    process.close()
    os.close(lock.acquire(path))
    assert not lock.is_held(path)
    assert find_holder(path) is None


def test_a_lock_file_replaced_meanwhile_is_not_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = lock.acquire(path)
    path.unlink()
    second = lock.acquire(path)
    assert os.fstat(second).st_ino == path.stat().st_ino
    os.close(first)
    os.close(second)


def test_a_lock_that_cannot_be_taken_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaunchError, match="cannot lock"):
        lock.acquire(tmp_path / "lock")
    assert lock.is_held(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


async def test_the_environment_holds_what_is_named_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSUP_TEST_SECRET", "1")
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    process = Process.spawn(shell("exec env"), {1: out}, TOKEN, {"PIPEWIRE_REMOTE": "/run/p w"})
    await process.wait()
    process.close()
    os.close(out)
    seen = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
    assert seen.keys() - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LANG", "PIPEWIRE_REMOTE"}
    assert seen["PIPEWIRE_REMOTE"] == "/run/p w"
