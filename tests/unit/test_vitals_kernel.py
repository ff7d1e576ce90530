"""What is read of a process and its host, from a directory that stands for the kernel's, and from the kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from qsup.proc.identity import identify
from qsup.vitals.kernel import THREAD_LIMIT, Kernel
from qsup.vitals.sample import Pressure
from tests.fakes.fake_kernel import IDENTITY, FakeKernel

PID = IDENTITY.pid


@pytest.fixture
def fake(tmp_path: Path) -> FakeKernel:
    made = FakeKernel(tmp_path)
    made.thread(PID, "S", ran=1.5, turns=7, wchan="fifo_open")
    return made


def test_the_main_thread_comes_first_and_says_where_it_waits(fake: FakeKernel) -> None:
    fake.thread(5, "R", name="a) b ( c")
    process = fake.kernel.process(IDENTITY, 10.0)
    assert process is not None
    assert [thread.tid for thread in process.threads] == [PID, 5]
    main = process.main
    assert (main.state, main.ran, main.turns, main.waits_in) == ("S", 1.5, 7, "fifo_open")
    assert process.threads[1].name == "a) b ( c"
    assert process.at == 10.0


def test_where_others_wait_is_read_of_those_that_nothing_can_wake(fake: FakeKernel) -> None:
    fake.thread(78, "D", wchan="nfs_wait")
    fake.thread(79, "S", wchan="futex_do_wait")
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert [thread.waits_in for thread in process.threads] == ["fifo_open", "nfs_wait", ""]


def test_a_thread_that_runs_waits_nowhere(fake: FakeKernel) -> None:
    fake.thread(PID, "R", wchan="0")
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert process.main.waits_in == ""


def test_another_process_with_its_pid_is_not_it(fake: FakeKernel) -> None:
    stranger = msgspec.structs.replace(IDENTITY, start_time=IDENTITY.start_time + 1)
    assert fake.kernel.process(stranger, 0.0) is None


def test_a_process_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), str(tmp_path))
    assert kernel.process(IDENTITY, 0.0) is None
    assert kernel.thread(PID, PID) is None


@pytest.mark.parametrize("content", ["", "77", "77 (qemu", "77 (qemu) S 1 2"])
def test_a_torn_stat_is_no_thread(fake: FakeKernel, content: str) -> None:
    for path in (fake.proc / f"{PID}/task/{PID}/stat", fake.proc / f"{PID}/stat"):
        path.write_text(content)
    assert fake.kernel.thread(PID, PID) is None
    assert fake.kernel.process(IDENTITY, 0.0) is None


def test_a_kernel_that_counts_no_turns_is_no_trouble(fake: FakeKernel) -> None:
    (fake.proc / f"{PID}/task/{PID}/schedstat").unlink()
    (fake.proc / f"{PID}/task/{PID}/wchan").unlink()
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert (process.main.turns, process.main.waits_in) == (0, "")


def test_the_number_of_threads_is_bounded(fake: FakeKernel) -> None:
    for tid in range(1000, 1000 + THREAD_LIMIT):
        fake.thread(tid)
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert len(process.threads) == THREAD_LIMIT


def test_pressure_is_the_time_in_which_all_stood_still(fake: FakeKernel) -> None:
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert process.pressure is None
    fake.pressure(io=2.5, memory=0.25)
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert process.pressure == Pressure(2.5, 0.25)


@pytest.mark.parametrize("mount", ["", "/unified"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_cgroup_is_found_wherever_it_is_mounted(fake: FakeKernel, mount: str, frozen: bool) -> None:
    fake.cgroup("/a.slice/b.scope", frozen=frozen, mount=mount)
    process = fake.kernel.process(IDENTITY, 0.0)
    assert process is not None
    assert process.frozen is frozen


def test_what_guests_send_is_summed_over_the_interfaces_that_are_there(fake: FakeKernel) -> None:
    assert fake.kernel.sent(("tap0", "tap1")) is None
    fake.sent("tap0", 100)
    assert fake.kernel.sent(("tap0", "tap1")) == 100
    fake.sent("tap1", 11)
    assert fake.kernel.sent(("tap0", "tap1")) == 111


def test_the_real_kernel_tells_all_that_of_a_real_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            seen = Kernel().process(identify(process.pid, ""), 0.0)
        finally:
            process.kill()
    assert seen is not None
    assert seen.main.tid == process.pid
    assert seen.main.state in "SRD"
    assert not seen.frozen
    me = Kernel().thread(os.getpid(), os.getpid())
    assert me is not None
    assert me.state == "R"
    assert me.ran > 0
