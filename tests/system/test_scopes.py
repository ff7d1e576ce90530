"""Guests as scopes of a real systemd, and as machines of a real machined: what these show of them, and do to them."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT
from tests.system.box import Box, box

DIRECTORY: Final = "/test"
OLDER: Final = Path("/sys/fs/cgroup/pids/cgroup.procs")
"""There where the kernel's controllers belong to version 1 of cgroups."""
DEADLINE: Final = 20.0
UNIT: Final = f"""
[Service]
Type=notify
Environment=PYTHONPATH={ROOT}
ExecStart={sys.executable} -m qsup.daemon --config {DIRECTORY}
KillMode=process
RuntimeDirectory=qsup
RuntimeDirectoryPreserve=yes
StateDirectory=qsup
"""
GUEST: Final = """
[machine]
accel = "tcg"
[memory]
size = "16 MiB"
[stop]
methods = ["acpi"]
timeout = "300 ms"
[restart]
delay = "0 s"
"""


class Host:
    """A host with a daemon."""

    def __init__(self, container: Box, directory: Path) -> None:
        self.box = container
        self.directory = directory

    def write(self, name: str, text: str = "") -> None:
        """Write a guest's file."""
        (self.directory / "guests" / f"{name}.toml").write_text(GUEST + text)

    def guest(self, name: str, text: str = "") -> None:
        """Write a guest's file, and have it read."""
        self.write(name, text)
        self.qsup("reload")

    def forget(self, name: str) -> None:
        """Remove a guest's file."""
        (self.directory / "guests" / f"{name}.toml").unlink()
        self.qsup("reload")

    def log(self) -> str:
        """What the daemon has written."""
        return self.box.run("journalctl", "--unit=qsupd", "--output=cat")

    def qsup(self, *words: str, fails: bool = False) -> str:
        """Use the command."""
        command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "qsup.cli", *words)
        return (self.box.fails if fails else self.box.run)(*command)

    def status(self, name: str) -> Any:
        """The facts of a guest."""
        (facts,) = json.loads(self.qsup("status", "--json", name))
        return facts

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as systemd writes them."""
        shown = self.box.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def start(self, name: str) -> str:
        """Start a guest, and wait until it is in its scope; the name of that."""
        self.qsup("start", name)
        self.until(lambda: self.status(name)["scope"] is not None)
        return str(self.status(name)["scope"])

    def processes(self, unit: str) -> set[int]:
        """What is in a unit's cgroup."""
        group = self.show(unit, "ControlGroup")["ControlGroup"]
        root = "/sys/fs/cgroup/systemd" if OLDER.exists() else "/sys/fs/cgroup"
        return {int(pid) for pid in self.box.run("cat", f"{root}{group}/cgroup.procs").split()}

    def machines(self) -> set[str]:
        """What machined lists."""
        return {line.split()[0] for line in self.box.run("machinectl", "list", "--no-legend").splitlines()}

    def until(self, reached: Callable[[], bool]) -> None:
        """Look until something is so; each look asks a program, so nothing is gained by waiting in between."""
        until = time.monotonic() + DEADLINE
        while not reached():
            assert time.monotonic() < until, self.box.run("journalctl", "--unit=qsupd", "--lines=40")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One for all tests of this file, each of which has guests of its own."""
    root = tmp_path_factory.mktemp("host")
    directory = root / "etc"
    (directory / "guests").mkdir(parents=True)
    words = ["--bind", str(ROOT), "--bind", f"{directory}:{DIRECTORY}"]
    with box("scopes", root / "boxes", *words, *(["--hybrid"] if OLDER.exists() else [])) as made:
        if "org.freedesktop.machine1" not in made.run("busctl", "list", "--no-pager"):
            pytest.skip("systemd-machined is not installed; apt-get install systemd-container")
        made.run("sh", "-c", 'printf %s "$1" >/run/systemd/system/qsupd.service', "sh", UNIT)
        made.run("systemctl", "daemon-reload")
        made.run("systemctl", "start", "qsupd")
        yield Host(made, directory)


def test_a_guest_is_a_scope_and_a_machine_until_it_ends(host: Host) -> None:
    tpm = shutil.which("swtpm") is not None
    host.guest("web@1", "[tpm]\nenabled = true\n" if tpm else "")
    scope = host.start("web@1")
    assert scope == "qsup-web\\x401.scope"
    shown = host.show(scope, "Slice", "Controller", "TimeoutStopUSec", "Before", "After")
    assert shown["Slice"] == "qsup.slice"
    assert shown["Controller"].startswith(":")
    assert shown["TimeoutStopUSec"].startswith("20.3")
    assert "qsup-guests.service" in shown["Before"].split()
    assert "qsupd.service" in shown["After"].split()
    facts = host.status("web@1")
    assert len(facts["helpers"]) == tpm
    assert host.processes(scope) == {facts["pid"], *facts["helpers"].values()}
    host.until(lambda: len(host.machines()) == 1)
    (machine,) = host.machines()
    assert machine.startswith("qsup-web-1-")
    assert scope in host.box.run("machinectl", "status", machine)
    assert scope in host.box.run("systemd-cgls", "--no-pager", "--full", "/qsup.slice")
    host.qsup("stop", "web@1")
    host.until(lambda: not host.machines())
    host.until(lambda: host.show(scope, "LoadState")["LoadState"] == "not-found")


def test_limits_hold_before_the_guest_runs_and_change_with_its_file(host: Host) -> None:
    limits = '[limits]\ntasks-max = {}\n{}slice = "test.slice"\nnuma-policy = "bind"\nnuma-mask = "0"\n'
    host.guest("limited", limits.format(90, "cpu-quota = 50\noom-score-adjust = 700\n"))
    host.qsup("start", "limited")
    scope, pid = "qsup-limited.scope", host.status("limited")["pid"]

    def held() -> tuple[str, str, str, str]:
        shown = host.show(scope, "TasksMax", "CPUQuotaPerSecUSec", "Slice")
        score = host.box.run("cat", f"/proc/{pid}/oom_score_adj").strip()
        return shown["TasksMax"], shown["CPUQuotaPerSecUSec"], shown["Slice"], score

    assert held() == ("90", "500ms", "test.slice", "700")
    assert "bind:0" in host.box.run("cat", f"/proc/{pid}/numa_maps")
    host.guest("limited", limits.format(91, "oom-score-adjust = 600\n"))
    host.until(lambda: host.status("limited")["limits"]["tasks-max"] == "91")
    assert held() == ("91", "infinity", "test.slice", "600")
    assert host.status("limited")["changes"] == []
    host.box.run("systemctl", "restart", "qsupd")
    assert (host.status("limited")["pid"], host.status("limited")["scope"]) == (pid, scope)
    host.guest("limited", limits.format(92, "").replace("test.slice", "other.slice"))
    host.until(lambda: host.status("limited")["limits"]["tasks-max"] == "92")
    assert held()[:3] == ("92", "infinity", "test.slice")
    assert host.status("limited")["changes"] == ["limits.slice: test.slice → other.slice"]
    host.qsup("stop", "limited")


def test_what_is_edited_while_no_daemon_is_there_holds_from_the_next_one_on(host: Host) -> None:
    host.guest("edited", "[limits]\ntasks-max = 80\n")
    host.qsup("start", "edited")
    host.box.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "qsupd")
    host.write("edited", "[limits]\ntasks-max = 81\n")
    host.box.run("systemctl", "restart", "qsupd")
    host.until(lambda: host.show("qsup-edited.scope", "TasksMax") == {"TasksMax": "81"})
    host.qsup("stop", "edited")


def test_a_limit_that_nothing_would_keep_is_refused_aloud(host: Host) -> None:
    """Where the kernel has no controller of version 2 to give."""
    if not OLDER.exists():
        pytest.skip("systemd has all of the kernel's controllers here")
    host.guest("refused", "[limits]\nmemory-high = '1 GiB'\n")
    told = "limits.memory-high: systemd has not got the kernel's controller memory here"
    assert told.replace(": ", ": not possible on this host: ") in host.qsup("check", "--config", DIRECTORY)
    assert told in host.qsup("start", "refused", fails=True)
    host.qsup("stop", "refused")
    host.guest("free")
    host.start("free")
    host.guest("free", "[limits]\nmemory-high = '1 GiB'\n")
    host.until(lambda: "its limits stay as they were: limits.memory-high: systemd has" in host.log())
    assert host.show("qsup-free.scope", "MemoryHigh") == {"MemoryHigh": "infinity"}
    assert host.status("free")["limits"] == {}
    host.qsup("stop", "free")
    host.forget("refused")
    host.forget("free")


def test_a_guest_that_takes_more_memory_than_it_may_is_ended_and_that_is_told(host: Host) -> None:
    if OLDER.exists():
        pytest.skip("the kernel's controller memory is of version 1 here, or not given to containers")
    host.guest("greedy", "[limits]\nmemory-max = '16 MiB'\nmemory-swap-max = '0 B'\n")
    host.qsup("start", "greedy", fails=True)
    host.until(lambda: host.status("greedy")["last-end"]["cause"] == "out-of-memory")
    assert "its cgroup had reached its memory limit" in host.status("greedy")["last-end"]["detail"]
    host.qsup("stop", "greedy")


@pytest.mark.parametrize(
    "words", [("systemctl", "stop", "qsup-asked.scope"), ("machinectl", "terminate", "qsup-asked")]
)
def test_whoever_stops_the_scope_stops_the_guest_gently_and_not_for_ever(
    host: Host, words: tuple[str, ...]
) -> None:
    host.guest("asked")
    host.start("asked")
    host.until(lambda: "qsup-asked" in host.machines())
    host.box.run(*words)
    host.until(lambda: host.status("asked")["phase"] == "stopped")
    facts = host.status("asked")
    # The guest was asked first; it has nothing that could hear.
    assert (facts["stopped-by"], facts["cause"], facts["wanted"]) == ("quit", "operator", "running")
    assert "asked: stopping: systemd stops it" in host.log()


def test_the_scope_of_an_adopted_guest_stops_it_too(host: Host) -> None:
    host.guest("adopted")
    host.start("adopted")
    host.box.run("systemctl", "restart", "qsupd")
    assert host.status("adopted")["adopted"]
    host.box.run("systemctl", "stop", "qsup-adopted.scope")
    host.until(lambda: host.status("adopted")["phase"] == "stopped")
    assert (
        host.status("adopted")["last-end"]["detail"] == "systemd ended QEMU: somebody has stopped its scope"
    )


def _runs_after(host: Host, name: str, restarts: int) -> bool:
    facts = host.status(name)
    return (facts["phase"], facts["restarts"]) == ("running", restarts)


def test_a_restart_at_once_does_not_meet_the_scope_of_the_last_run(host: Host) -> None:
    host.guest("again", "limit = 100\n[limits]\ntasks-max = 70\n")
    host.qsup("start", "again")
    for restarts in range(1, 6):
        host.box.run("kill", "-9", str(host.status("again")["pid"]))
        host.until(partial(_runs_after, host, "again", restarts))
        assert host.processes("qsup-again.scope") == {host.status("again")["pid"]}
        assert host.show("qsup-again.scope", "TasksMax") == {"TasksMax": "70"}
    host.qsup("stop", "again")
    host.until(lambda: not host.machines())
    assert "qsup-again" not in host.box.run("systemctl", "list-units", "--all", "--no-legend", "qsup-*.scope")


def test_a_guest_that_the_last_daemon_could_not_put_anywhere_is_put_by_the_next(host: Host) -> None:
    (host.directory / "qsup.toml").write_text("scopes = false\n")
    host.qsup("reload")
    host.guest("late")
    host.qsup("start", "late")
    assert host.status("late")["scope"] is None
    (host.directory / "qsup.toml").unlink()
    host.box.run("systemctl", "restart", "qsupd")
    host.until(lambda: host.status("late")["scope"] == "qsup-late.scope")
    assert host.processes("qsup-late.scope") == {host.status("late")["pid"]}
    host.qsup("stop", "late")
