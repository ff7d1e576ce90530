"""What is read of the host after an abnormal end: core dumps, figures of the kernel, and what hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qsup.blackbox import figures, patience
from qsup.blackbox.core import Core, Pattern, expand, locate
from qsup.blackbox.patience import patiently
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

ABORTED = ExitStatus("signal", signal.SIGABRT)
QEMU = "/usr/bin/qemu-system-x86_64"


def of(tmp_path: Path, pattern: str, status: ExitStatus | None = ABORTED, **more: Any) -> Core | None:
    """What is told of the core of pid 77."""
    more = {"limit": -1, "directory": str(tmp_path), "since": 0.0, **more}
    uses_pid = more.pop("uses_pid", False)
    return locate(status, 77, binary=QEMU, pattern=Pattern(pattern, uses_pid), **more)


def told(tmp_path: Path, pattern: str, **more: Any) -> str:
    core = of(tmp_path, pattern, **more)
    assert core is not None
    return core.told


@pytest.mark.parametrize("status", [None, ExitStatus("exit", 1), ExitStatus("signal", signal.SIGKILL)])
def test_an_end_that_makes_no_core_has_none(tmp_path: Path, status: ExitStatus | None) -> None:
    assert of(tmp_path, "core", status) is None


def test_systemd_coredump_is_named_with_the_command_that_shows_the_core(tmp_path: Path) -> None:
    pattern = "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h"
    assert told(tmp_path, pattern) == "systemd-coredump has it: `coredumpctl info 77`"
    without = told(tmp_path, pattern, limit=0)
    assert "RLIMIT_CORE" in without
    assert "coredumpctl info 77" in without


def test_any_other_program_is_named(tmp_path: Path) -> None:
    assert "/usr/share/apport/apport" in told(tmp_path, "|/usr/share/apport/apport -p%p", limit=0)
    assert "/run/coredump.socket" in told(tmp_path, "@@/run/coredump.socket")


def test_a_limit_of_zero_is_why_there_is_none(tmp_path: Path) -> None:
    assert "RLIMIT_CORE" in told(tmp_path, "core", limit=0)


def test_a_core_in_the_working_directory_is_found_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "core.77").write_bytes(b"x" * 1234)
    (tmp_path / "core.78").write_bytes(b"x")
    core = of(tmp_path, "core", uses_pid=True)
    assert core == Core(f"it is in {tmp_path}/core.77 (1234 bytes)", f"{tmp_path}/core.77")


def test_a_core_elsewhere_is_found_though_not_all_of_its_name_can_be_known(tmp_path: Path) -> None:
    place = tmp_path / "[cores]"
    place.mkdir()
    file = place / "core.CPU 0!KVM.77.6.1700000000"
    file.write_bytes(b"x")
    pattern = str(place).replace("%", "%%") + "/core.%e.%p.%s.%t"
    core = of(tmp_path, pattern)
    assert core is not None
    assert core.path == str(file)


def test_an_older_core_and_what_is_no_file_are_not_taken_for_it(tmp_path: Path) -> None:
    old = tmp_path / "core"
    old.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    assert "there is none" in told(tmp_path, "core", since=time.time())
    old.unlink()
    old.symlink_to("/etc/passwd")
    assert "there is none" in told(tmp_path, "core")


def test_an_empty_pattern_makes_none(tmp_path: Path) -> None:
    assert "core_pattern is empty" in told(tmp_path, "")


def test_the_pattern_is_expanded_as_the_kernel_does() -> None:
    pattern = Pattern("/c/%E-%p-%%-%s-%q%", uses_pid=True)
    assert expand(pattern, 6, 77, "/bin/sh").endswith("sh-77-%-6-*")
    assert expand(Pattern("core", uses_pid=True), 6, 77, QEMU) == "core.77"
    assert expand(Pattern("a[b]*", uses_pid=False), 6, 77, QEMU) == "a[[]b][*]"


def test_the_pattern_of_this_host_can_be_read() -> None:
    assert isinstance(Pattern.of_host().text, str)
    assert isinstance(locate(ABORTED, os.getpid(), binary=QEMU, since=time.time()), Core)


def test_figures_of_the_kernel_become_objects() -> None:
    assert figures.fields("0.1 0.2 0.3 1/99 7\n".strip()) == "0.1 0.2 0.3 1/99 7"
    assert figures.fields("MemTotal:       24 kB\nMemFree:  1 kB") == {"MemTotal": "24 kB", "MemFree": "1 kB"}
    assert figures.fields("some avg10=0.00 total=1") == {"some": "avg10=0.00 total=1"}
    assert figures.fields("oom 0\noom_kill 3") == {"oom": "0", "oom_kill": "3"}
    limits = "Limit           Soft Limit    Hard Limit\nMax cpu time    unlimited     unlimited"
    assert figures.fields(limits)["Max cpu time"].split() == ["unlimited", "unlimited"]
    assert figures.fields("alone\nx") == {"alone": "", "x": ""}


async def test_the_figures_of_this_process_and_host_are_there(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(b"x" * 5000)
    found = await figures.figures(os.getpid(), [str(image), str(tmp_path / "gone")])
    assert found["host"]["/proc/meminfo"]["MemTotal"].endswith("kB")
    assert found["process"]["status"]["Pid"] == str(os.getpid())
    assert found["process"]["limits"]["Max core file size"]
    assert found["disks"][str(image)]["size"] == 5000
    assert str(tmp_path / "gone") not in found["disks"]
    assert "unanswered" not in found


async def test_of_a_process_that_has_gone_there_are_no_figures() -> None:
    found = await figures.figures(None)
    assert "process" not in found
    assert "cgroup" not in found
    assert (await figures.figures(2**22 + 1))["process"] == {}


def test_a_cgroup_is_read_after_its_process_has_gone(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom_kill 1\n")
    assert figures.of_cgroup(str(tmp_path)) == {
        "path": str(tmp_path),
        "memory.events": {"low": "0", "oom_kill": "1"},
    }


async def test_a_file_system_that_hangs_costs_a_moment_and_the_other_figures_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    monkeypatch.setattr(figures, "_of_disks", lambda _: release.wait())
    monkeypatch.setattr(figures, "DEADLINE", 0.05)
    found = await figures.figures(None, ["/x"])
    release.set()
    assert "unanswered" in found
    assert "host" in found


async def test_work_that_hangs_holds_up_only_so_much_other_work() -> None:
    places = threading.BoundedSemaphore(1)
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await patiently(release.wait, 0.01, places)
    with pytest.raises(TimeoutError):
        await patiently(lambda: None, 0.01, places)
    release.set()
    assert await patiently(lambda: 7, 5, places) == 7


async def test_an_error_of_the_work_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await patiently(lambda: 1 / 0, 5)


def test_work_that_ends_after_the_loop_is_harmless() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        asyncio.run(patiently(work, 0.01))
    release.set()
    assert ended.wait(5)
    assert patience.PLACES.acquire(timeout=5)
    patience.PLACES.release()
