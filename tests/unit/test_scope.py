"""A guest's scope in systemd's words, in the kernel's, and what there is on a host to stand on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qsup.dbus.systemd import Property
from qsup.proc import cgroup
from qsup.scope import device, files, ground, names, properties
from qsup.scope.ground import Ground, Way
from qsup.scope.kills import KillCounts
from qsup.spec.model import GuestSpec
from qsup.spec.tables.limits import DiskLimits, Limits
from qsup.units import Size

MIB = Size(1 << 20)
ALL = Limits(
    cpu_weight=200,
    cpu_quota=150,
    allowed_cpus="0-2,9",
    memory_max=Size(512 * MIB),
    memory_high=Size(400 * MIB),
    memory_swap_max=Size(0),
    allowed_memory_nodes="1",
    io_weight=50,
    tasks_max=300,
    disk={"root": DiskLimits(read_bandwidth_max=MIB, write_iops_max=7), "gone": DiskLimits(read_iops_max=1)},
)
DISKS = {"root": "/images/root.raw"}


def by_name(made: list[Property]) -> dict[str, tuple[str, object]]:
    assert len({one.name for one in made}) == len(made)
    return {one.name: (one.signature, one.value) for one in made}


def test_every_limit_is_a_property_of_systemds_with_its_type() -> None:
    assert by_name(properties.of_limits(ALL, DISKS)) == {
        "CPUWeight": ("t", 200),
        "CPUQuotaPerSecUSec": ("t", 1_500_000),
        "AllowedCPUs": ("ay", b"\x07\x02"),
        "MemoryMax": ("t", 512 << 20),
        "MemoryHigh": ("t", 400 << 20),
        "MemorySwapMax": ("t", 0),
        "AllowedMemoryNodes": ("ay", b"\x02"),
        "IOWeight": ("t", 50),
        "TasksMax": ("t", 300),
        "IOReadBandwidthMax": ("a(st)", [["/images/root.raw", 1 << 20]]),
        "IOWriteIOPSMax": ("a(st)", [["/images/root.raw", 7]]),
    }
    assert properties.of_limits(Limits(), DISKS) == []


def test_what_changes_is_said_and_what_is_limited_no_more_is_taken_back() -> None:
    other = Limits(tasks_max=300, cpu_quota=50, disk={"root": DiskLimits(write_iops_max=9)})
    everything = {"AllowedCPUs": "0-9", "AllowedMemoryNodes": "0-1"}
    changed = by_name(properties.between(ALL, other, DISKS, everything))
    assert changed.pop("CPUQuotaPerSecUSec") == ("t", 500_000)
    assert changed.pop("IOReadBandwidthMax") == ("a(st)", [["/images/root.raw", properties.UNSET]])
    assert changed.pop("IOWriteIOPSMax") == ("a(st)", [["/images/root.raw", 9]])
    # A set that is empty would leave the cgroup as it was.
    assert changed.pop("AllowedCPUs") == ("ay", b"\xff\x03")
    assert changed.pop("AllowedMemoryNodes") == ("ay", b"\x03")
    kept = {"CPUWeight", "MemoryMax", "MemoryHigh", "MemorySwapMax", "IOWeight"}
    assert changed == dict.fromkeys(kept, ("t", properties.UNSET))
    assert properties.between(ALL, ALL, DISKS, everything) == []


def test_a_scope_goes_after_what_stops_guests_gently_and_waits_for_the_guest() -> None:
    made = by_name(properties.of_scope("Guest web1", Limits(), {}, ":1.7", 110.5))
    assert made["Before"] == ("as", ["qsup-guests.service"])
    assert made["After"] == ("as", ["qsupd.service", "dbus.service"])
    assert made["TimeoutStopUSec"] == ("t", 110_500_000)
    assert made["Controller"] == ("s", ":1.7")
    assert made["Slice"] == ("s", "qsup.slice")
    assert made["CollectMode"] == ("s", "inactive-or-failed")
    assert made["OOMPolicy"] == ("s", "continue")
    sliced = by_name(properties.of_scope("Guest web1", Limits(slice="a-b.slice"), {}, None, 1.0))
    assert sliced["Slice"] == ("s", "a-b.slice")
    assert "Controller" not in sliced


def test_every_limit_is_a_file_of_a_cgroup() -> None:
    assert files.of_limits(ALL, {"root": "8:0"}) == [
        ("cpu.weight", "200"),
        ("cpu.max", "150000 100000"),
        ("cpuset.cpus", "0-2,9"),
        ("cpuset.mems", "1"),
        ("memory.max", str(512 << 20)),
        ("memory.high", str(400 << 20)),
        ("memory.swap.max", "0"),
        ("io.weight", "default 50"),
        ("pids.max", "300"),
        ("io.max", "8:0 rbps=1048576 wbps=max riops=max wiops=7"),
    ]
    assert files.of_limits(Limits(), {}) == []


def test_files_are_written_back_to_what_is_usual() -> None:
    other = Limits(tasks_max=300, cpu_quota=50)
    assert files.between(ALL, other, {"root": "8:0"}) == [
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", ""),
        ("cpuset.mems", ""),
        ("memory.max", "max"),
        ("memory.high", "max"),
        ("memory.swap.max", "max"),
        ("io.weight", "default 100"),
        ("io.max", "8:0 rbps=max wbps=max riops=max wiops=max"),
    ]


@pytest.mark.parametrize(
    ("guest", "scope", "path"),
    [
        ("web1", "qsup-web1.scope", "qsup_2dweb1_2escope"),
        ("a.b_c-d", "qsup-a.b_c-d.scope", "qsup_2da_2eb_5fc_2dd_2escope"),
        ("web@1", "qsup-web\\x401.scope", "qsup_2dweb_5cx401_2escope"),
    ],
)
def test_a_scope_is_called_after_its_guest(guest: str, scope: str, path: str) -> None:
    assert names.scope(guest) == scope
    assert names.object_path(scope) == f"/org/freedesktop/systemd1/unit/{path}"


def test_machines_have_names_of_hosts_and_no_two_guests_have_one() -> None:
    guests = ["web1", "web-1", "a.b", "web@1", "web_1", "web-1.", "web..1", "web-.-1", "W" + "x" * 47]
    made = [names.machine(guest) for guest in guests]
    assert made[:3] == ["qsup-web1", "qsup-web-1", "qsup-a.b"]
    assert len(set(made)) == len(guests)
    for name in made:
        labels = name.split(".")
        assert all(label and label.strip("-") == label for label in labels), name
        assert name.replace("-", "").replace(".", "").isalnum()
        assert len(name) <= 64


def test_two_daemons_of_one_host_do_not_share_names() -> None:
    assert names.tag("/run/qsup", "/run/qsup") == ""
    one, other = names.tag("/tmp/a/run", "/run/qsup"), names.tag("/tmp/b/run", "/run/qsup")
    assert len({names.scope("web1", tag) for tag in ("", one, other)}) == 3
    assert len({names.machine("web1", tag) for tag in ("", one, other)}) == 3


# What there is


def lacks(here: Ground, **limits: object) -> list[str]:
    spec = GuestSpec(name="web1", limits=Limits(**limits))  # type: ignore[arg-type]
    return [f"{'.'.join(map(str, path))}: {why}" for path, why in here.lacks(spec)]


def test_a_limit_that_nothing_keeps_is_told_by_its_key() -> None:
    nothing = Ground(Way.NONE, why="there is nothing")
    assert lacks(nothing) == []
    assert lacks(nothing, memory_swap_max=Size(0), slice="a.slice", oom_score_adjust=-5) == [
        "limits.memory-swap-max: there is nothing",
        "limits.slice: there is nothing",
    ]
    systemd = Ground(Way.SYSTEMD, frozenset({"cpu", "pids"}), older=frozenset({"memory", "cpuset"}))
    assert lacks(systemd, cpu_weight=1, tasks_max=9, memory_max=MIB, slice="a.slice") == []
    told = lacks(
        systemd, memory_high=MIB, allowed_cpus="0", io_weight=7, disk={"a": DiskLimits(read_iops_max=1)}
    )
    assert [line.partition(":")[0] for line in told] == [
        "limits.allowed-cpus",
        "limits.memory-high",
        "limits.io-weight",
        "limits.disk",
    ]
    assert "version 1 of the kernel's controller memory" in told[1]
    ours = Ground(Way.CGROUP, frozenset({"cpu"}), base="/sys/fs/cgroup/x")
    assert lacks(ours, cpu_weight=1, tasks_max=9, slice="a.slice") == [
        "limits.tasks-max: the cgroup /sys/fs/cgroup/x has not got the kernel's controller pids; see cgroups(7)",
        "limits.slice: slices are systemd's, which does not run here; take it out",
    ]


@pytest.fixture
def delegated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A directory that stands for the daemon's cgroup on a host without systemd, with these processes in it."""
    monkeypatch.setattr(ground, "SYSTEMD", str(tmp_path / "none"))

    def make(processes: str, name: str = "mine") -> Path:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "cgroup.procs").write_text(processes)
        (directory / "cgroup.subtree_control").touch()
        (directory / "cgroup.controllers").write_text("cpu memory\n")
        monkeypatch.setattr(cgroup, "directory_of", lambda _: str(directory))
        return directory

    return make


def test_a_cgroup_of_our_own_will_do_where_no_systemd_runs(delegated: Callable[[str], Path]) -> None:
    directory = delegated(f"{os.getpid()}\n")
    assert ground.look() == Ground(Way.CGROUP, frozenset({"cpu", "memory"}), base=str(directory))
    assert ground.look(enabled=False).way is Way.NONE


def test_a_cgroup_that_others_are_in_will_not_do(delegated: Callable[[str], Path]) -> None:
    delegated(f"{os.getpid()}\n1\n")
    assert "holds other processes (1); start qsupd in one of its own" in ground.look().why


def test_a_daemon_that_has_moved_finds_its_cgroup_above(
    delegated: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = delegated("")
    monkeypatch.setattr(cgroup, "directory_of", lambda _: f"{directory}/{ground.LEAF}")
    assert ground.look().base == str(directory)
    (directory / "cgroup.subtree_control").unlink()
    assert "has not been delegated to it" in ground.look().why
    monkeypatch.setattr(cgroup, "directory_of", lambda _: None)
    assert "no cgroups of version 2" in ground.look().why


def test_where_systemd_runs_there_has_to_be_its_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(ground, "bus_address", lambda: None)
    assert "there is no bus" in ground.look().why
    monkeypatch.setattr(ground, "bus_address", lambda: "unix:path=/x")
    assert ground.look().way is Way.SYSTEMD


def test_a_file_lies_on_a_whole_device_or_on_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="does not lie on one block device"):
        device.device_of("/proc/version")
    number = os.stat("/").st_dev
    if os.major(number):
        # The kernel's list is a test's own: the device is the second partition of one.
        disk = tmp_path / "disk"
        (disk / "part2").mkdir(parents=True)
        (disk / "dev").write_text("8:16\n")
        (tmp_path / f"{os.major(number)}:{os.minor(number)}").symlink_to(disk / "part2")
        monkeypatch.setattr(device, "DEVICES", str(tmp_path))
        assert device.device_of("/") == f"{os.major(number)}:{os.minor(number)}"
        (disk / "part2/partition").write_text("2\n")
        assert device.device_of("/") == "8:16"


@pytest.mark.parametrize(
    ("lines", "unit"),
    [
        ("0::/qsup.slice/qsup-a.scope\n", "qsup-a.scope"),
        ("3:cpu:/elsewhere\n1:name=systemd:/qsup.slice/qsup-a.scope\n0::/\n", "qsup-a.scope"),
        ("9:name=systemd:/\n0::/qsup.slice/qsup-a.scope\n", "qsup-a.scope"),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_process_is_the_end_of_its_cgroup(
    lines: str, unit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "read", lambda _: lines.strip())
    assert cgroup.unit_of(7) == unit


def counts(directory: Path, oom: int, killed: int) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "memory.events").write_text(f"low 0\noom {oom}\noom_kill {killed}\noom_group_kill 0\n")


def test_kills_are_those_of_the_guests_cgroup_as_long_as_that_is_there(tmp_path: Path) -> None:
    above, guest = tmp_path / "qsup.slice", tmp_path / "qsup.slice/qsup-a.scope"
    counts(above, 7, 7)
    counts(guest, 0, 0)
    known = KillCounts()
    known.begin(str(guest))
    assert known.look(str(guest)) is None
    counts(guest, 0, 1)
    told = "the host had no memory left (memory.events of qsup-a.scope: oom_kill 1)"
    assert str(known.look(str(guest))).endswith(told)


def test_kills_in_a_cgroup_that_is_gone_are_what_the_one_above_has_counted_since(tmp_path: Path) -> None:
    above = tmp_path / "qsup.slice"
    counts(above, 7, 7)
    known = KillCounts()
    for guest in ("a", "b"):
        known.begin(str(above / f"qsup-{guest}.scope"))
    counts(above, 8, 8)
    told = "its cgroup had reached its memory limit (memory.events of qsup.slice: oom_kill 1)"
    assert str(known.look(str(above / "qsup-a.scope"))).endswith(told)
    assert known.look(str(above / "qsup-b.scope")) is None


def test_where_the_kernel_counts_nothing_nothing_is_known(tmp_path: Path) -> None:
    known = KillCounts()
    known.begin(str(tmp_path / "a"))
    assert known.look(str(tmp_path / "a")) is None
    assert known.look("/sys/fs/cgroup") is None
