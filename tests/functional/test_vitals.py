"""The watch over real QEMUs that are stopped, blocked, frozen, on dead storage, and over guests that live or hang."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qsup import clock
from qsup.errors import QmpError
from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.course import Course
from qsup.vitals.sample import Sample
from qsup.vitals.verdict import Condition, Verdict
from qsup.vitals.watch import Watch
from tests.functional.sectors import SECTORS, Watched, assemble, sector_options

DEADLINE = 90.0
QEMU = Hang(qemu_timeout=Duration(2), guest_timeout=Duration(0))
GUEST = Hang(qemu_timeout=Duration(0), guest_timeout=Duration(5))
PAUSED = ("-machine", "q35", "-accel", "tcg", "-m", "16", "-S")
V1_FREEZER = Path("/sys/fs/cgroup/freezer")
Start = Callable[..., Awaitable[Watched]]


class Observer:
    """Adds up what a watch reports."""

    def __init__(self, hang: Hang) -> None:
        self.hang = hang
        self.course = Course()
        self.told: list[tuple[float, Verdict]] = []
        self.samples = 0
        self._changed = asyncio.Event()

    def report(self, sample: Sample) -> None:
        self.samples += 1
        self.course = self.course.after(sample, self.hang)
        verdict = self.course.verdict(self.hang)
        before = self.told[-1][1].condition if self.told else Condition.WELL
        if verdict.condition is not before:
            self.told.append((sample.at, verdict))
            self._changed.set()

    async def change(self) -> tuple[float, Verdict]:
        """The next change of the condition that has not been asked for."""
        async with asyncio.timeout(DEADLINE):
            await self._changed.wait()
        self._changed.clear()
        return self.told[-1]

    async def more(self, count: int) -> None:
        """Wait for so many more samples: their number is what matters, not the time."""
        have = self.samples
        async with asyncio.timeout(DEADLINE):
            while self.samples < have + count:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watch(subject: Watched, hang: Hang) -> AsyncIterator[Observer]:
    """A watch over a QEMU, well when it begins."""
    observer = Observer(hang)
    task = asyncio.create_task(Watch(subject, hang, observer.report).run())
    try:
        await observer.more(3)
        assert observer.told == []
        yield observer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts QEMUs, and sees to their end."""
    started: list[Watched] = []

    async def starting(binary: str, *options: str, **more: Any) -> Watched:
        made = await Watched.start(binary, tmp_path / f"q{len(started)}", *options, **more)
        started.append(made)
        return made

    yield starting
    for each in started:
        await each.end()


async def test_a_stop_is_told_in_time_and_so_is_its_end(start: Start, each_qemu: str) -> None:
    qemu = await start(each_qemu, *PAUSED)
    async with watch(qemu, QEMU) as seen:
        stopped = clock.now()
        qemu.process.send_signal(signal.SIGSTOP)
        when, verdict = await seen.change()
        assert verdict.condition is Condition.QEMU_STOPPED
        assert verdict.since is not None
        assert abs(verdict.since - stopped) <= 0.2
        assert abs(when - stopped - 2) <= 0.2
        went_on = clock.now()
        qemu.process.send_signal(signal.SIGCONT)
        when, verdict = await seen.change()
        assert verdict.condition is Condition.WELL
        assert when - went_on <= 0.2


async def test_a_stopped_qemu_is_not_left_a_heap_of_questions(start: Start, qemu_binary: str) -> None:
    qemu = await start(qemu_binary, *PAUSED)
    async with watch(qemu, QEMU) as seen:
        qemu.process.send_signal(signal.SIGSTOP)
        await seen.change()
        await seen.more(30)
        (session,) = qemu.opened
        assert len(session._owed) <= 2


async def block(qemu: Watched) -> None:
    """Have the main loop open a FIFO that nobody reads."""
    fifo = qemu.directory / "fifo"
    os.mkfifo(fifo)
    backend = {"type": "file", "data": {"out": str(fifo)}}
    with contextlib.suppress(QmpError):
        await qemu.opened[-1].execute("chardev-add", {"id": "stuck", "backend": backend}, deadline=0.2)


async def test_a_blocked_main_loop_is_told_and_so_is_its_end(start: Start, each_qemu: str) -> None:
    qemu = await start(each_qemu, *PAUSED)
    async with watch(qemu, QEMU) as seen:
        await block(qemu)
        _, verdict = await seen.change()
        assert verdict.condition is Condition.QEMU_HUNG
        assert verdict.evidence[0] == "its main loop is held up: its monitor answers out of band"
        os.close(os.open(qemu.directory / "fifo", os.O_RDONLY | os.O_NONBLOCK))
        _, verdict = await seen.change()
        assert verdict.condition is Condition.WELL


async def test_a_debugger_is_left_alone(start: Start, qemu_binary: str) -> None:
    qemu = await start(qemu_binary, *PAUSED)
    async with watch(qemu, QEMU) as seen:
        with traced(qemu.process.pid):
            _, verdict = await seen.change()
            assert verdict.condition is Condition.QEMU_TRACED
        _, verdict = await seen.change()
        assert verdict.condition is Condition.WELL


@contextlib.contextmanager
def traced(pid: int) -> Any:
    """A process that is stopped by another, which traces it."""
    source = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"if libc.ptrace(16, {pid}, 0, 0): sys.exit(os.strerror(ctypes.get_errno()))\n"
        f"os.waitpid({pid}, 0x40000000)\n"
        "print('attached', flush=True)\n"
        "sys.stdin.read()\n"
    )
    tracer = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with tracer:
        assert tracer.stdout is not None
        if tracer.stdout.readline() != b"attached\n":
            pytest.skip("processes cannot be traced here")
        yield
        # The kernel lets go of whom a process traces when that process ends.


@contextlib.contextmanager
def frozen(qemu: Watched, cgroup: Path, switch: str, on: str, off: str) -> Any:
    """A process in a cgroup that is frozen."""
    try:
        cgroup.mkdir()
        (cgroup / "cgroup.procs").write_text(str(qemu.process.pid))
        (cgroup / switch).write_text(on)
    except OSError as error:
        pytest.skip(f"there is no cgroup to be made and frozen: {error}")
    try:
        yield
    finally:
        (cgroup / switch).write_text(off)
        (cgroup.parent / "cgroup.procs").write_text(str(qemu.process.pid))
        cgroup.rmdir()


def unified() -> Path:
    """Where version 2 of cgroups is mounted."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.exists() else Path("/sys/fs/cgroup")


@pytest.mark.parametrize("version", [1, 2])
async def test_a_frozen_qemu_is_the_hosts_doing(start: Start, qemu_binary: str, version: int) -> None:
    qemu = await start(qemu_binary, *PAUSED)
    name = f"qsup-test-{qemu.process.pid}"
    where: tuple[Any, ...] = (V1_FREEZER / name, "freezer.state", "FROZEN", "THAWED")
    if version == 2:
        where = (unified() / name, "cgroup.freeze", "1", "0")
    async with watch(qemu, QEMU) as seen:
        with frozen(qemu, *where):
            _, verdict = await seen.change()
            assert verdict.condition is Condition.HOST_STALLED
            assert ("frozen" if version == 2 else "state D") in verdict.evidence[0]
        _, verdict = await seen.change()
        assert verdict.condition is Condition.WELL


@contextlib.contextmanager
def dead_storage(directory: Path) -> Any:
    """A file system of its own; yields its directory, and what freezes it and lets it go on."""
    image, mount = directory / "fs.img", directory / "mnt"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted: {error}")
    try:
        yield mount, lambda how: subprocess.run(["fsfreeze", how, mount], check=True)
    finally:
        subprocess.run(["fsfreeze", "-u", mount], check=False, capture_output=True)
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.parametrize("aio", ["threads", "io_uring", "native"])
async def test_dead_storage_is_the_hosts_doing(
    start: Start, qemu_binary: str, tmp_path: Path, aio: str
) -> None:
    with dead_storage(tmp_path) as (mount, freeze):
        disk = mount / "disk.img"
        disk.touch()
        os.truncate(disk, 1 << 20)
        direct = "on" if aio == "native" else "off"
        node = f"driver=file,node-name=d,filename={disk},aio={aio},cache.direct={direct}"
        qemu = await start(qemu_binary, *PAUSED, "-blockdev", node)
        async with watch(qemu, QEMU) as seen:
            freeze("-f")
            # QEMU waits in its main loop for what it writes at an operator's wish.
            line = {"command-line": 'qemu-io d "write 0 4096"'}
            with contextlib.suppress(QmpError):
                await qemu.opened[-1].execute("human-monitor-command", line, deadline=0.2)
            _, verdict = await seen.change()
            assert verdict.condition is Condition.HOST_STALLED
            assert "waits for the host's storage" in verdict.evidence[0]
            freeze("-u")
            _, verdict = await seen.change()
            assert verdict.condition is Condition.WELL


async def test_a_lost_session_is_told_and_another_is_taken_up(start: Start, qemu_binary: str) -> None:
    qemu = await start(qemu_binary, *PAUSED)
    async with watch(qemu, QEMU) as seen:
        qemu.session = None
        await qemu.opened[-1].close()
        _, verdict = await seen.change()
        assert verdict.condition is Condition.QMP_LOST
        await qemu.open()
        _, verdict = await seen.change()
        assert verdict.condition is Condition.WELL


async def sector(start: Start, binary: str, directory: Path, name: str, accel: str) -> Watched:
    """A guest that has been loaded, and is well for another moment."""
    qemu = await start(binary, *sector_options(assemble(directory, name), accel))
    await qemu.prints(b"r")
    return qemu


HUNG = {
    "tcg": {"resting": "vCPU 0 rests with interrupts off"},
    "kvm": {
        "resting": "vCPU 0 rests with interrupts off",
        "spinning": "vCPU 0 runs with interrupts off",
    },
}
"""What is told of whom; under TCG there are no counters to prove that nothing interrupts a guest that runs."""


@pytest.mark.parametrize("name", SECTORS)
@pytest.mark.parametrize("accel", ["tcg", pytest.param("kvm", marks=pytest.mark.kvm)])
async def test_a_guest_that_hangs_is_told_and_no_other_is(
    start: Start, qemu_binary: str, tmp_path: Path, name: str, accel: str
) -> None:
    qemu = await sector(start, qemu_binary, tmp_path, name, accel)
    async with watch(qemu, GUEST) as seen:
        await qemu.prints(b"g")
        if name in HUNG[accel]:
            _, verdict = await seen.change()
            assert verdict.condition is Condition.GUEST_HUNG
            assert verdict.evidence[1].startswith(HUNG[accel][name])
            # Nobody expects progress of a guest that is paused.
            await qemu.opened[-1].execute("stop")
            _, verdict = await seen.change()
            assert verdict.condition is Condition.WELL
        else:
            await seen.more(15)
            assert seen.told == []


@pytest.mark.kvm
async def test_a_newer_qemu_tells_the_same_of_its_guest(
    start: Start, newer_qemu_binary: str, tmp_path: Path
) -> None:
    qemu = await sector(start, newer_qemu_binary, tmp_path, "spinning", "kvm")
    async with watch(qemu, GUEST) as seen:
        _, verdict = await seen.change()
        assert verdict.condition is Condition.GUEST_HUNG
        assert verdict.evidence[1].startswith(HUNG["kvm"]["spinning"])
        assert verdict.evidence[2].startswith("KVM has given it no interrupt")


@pytest.mark.linux_guest
@pytest.mark.parametrize("cpus", [1, 2])
async def test_an_idle_linux_is_well_and_a_halted_one_looks_hung(
    start: Start, qemu_binary: str, linux_guest: tuple[Path, Path], cpus: int
) -> None:
    kernel, initrd = linux_guest
    qemu = await start(
        qemu_binary,
        *("-machine", "q35", "-accel", "tcg", "-m", "256", "-smp", str(cpus)),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"),
    )
    await qemu.prints(b"linux: up")
    qemu.serial[1].write(b"touch /quiet\n")
    async with watch(qemu, GUEST) as seen:
        await seen.more(20)
        assert seen.told == []
        assert seen.course.trusted
        qemu.serial[1].write(b"halt -f\n")
        _, verdict = await seen.change()
        assert verdict.condition is Condition.GUEST_HUNG
        assert verdict.evidence[0].startswith(f"none of its vCPUs ({cpus}) had interrupts on")
