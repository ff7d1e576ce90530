"""Records on disk: written whole, upgraded on read, set aside when they cannot be read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from qsup.argv.helper import Helper
from qsup.argv.invocation import QmpCommand
from qsup.errors import RecordError
from qsup.guest import record
from qsup.guest.state import State
from qsup.phase import Phase
from qsup.proc.identity import Identity
from qsup.scope.ground import Way
from qsup.scope.wish import Scope
from qsup.spec import codec
from qsup.spec.model import GuestSpec
from qsup.spec.tables.limits import DiskLimits, Limits
from qsup.units import Size
from tests.unit.guest_states import LAUNCH, STATES, changed


@pytest.mark.parametrize("phase", Phase)
def test_every_state_comes_back_as_it_was_written(phase: Phase, tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    written = record.StateRecord(boot_id="b", state=STATES[phase])
    record.write(path, written)
    assert record.read_state(path) == written
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_launch_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    identity = Identity(pid=7, start_time=8, boot_id="b", token="t")
    commands = (QmpCommand("set_link", {"name": "nic-lan", "up": False}),)
    written = record.LaunchRecord(
        boot_id="b",
        token="t",
        accel="kvm",
        spec=msgspec.Raw(b'{"name":"a"}'),
        commands=commands,
        identity=identity,
    )
    record.write(path, written)
    read = record.read_launch(path)
    assert read is not None
    assert (read.identity, read.commands, bytes(read.spec)) == (identity, commands, b'{"name":"a"}')


def test_no_record_is_no_error(tmp_path: Path) -> None:
    assert record.read_state(tmp_path / "state.json") is None


GOOD = msgspec.json.encode(record.StateRecord(boot_id="b", state=State()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        GOOD[:-10],
        b"[]",
        b"{}",
        b'{"version": 99, "boot_id": "b", "state": {}}',
        b'{"version": 0}',
        b'{"version": "1"}',
        GOOD.replace(b'"stopped"', b'"flying"', 1),
        b"[" * 5000,
        b" " * (record.LIMIT + 1),
        b"\xff\xfe",
    ],
)
def test_an_unreadable_record_is_kept_aside_and_met_only_once(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"state\.json.*cannot be used.*kept as state\.json\.unreadable-1"):
        record.read_state(path)
    assert (tmp_path / "state.json.unreadable-1").read_bytes() == data
    assert record.read_state(path) is None
    path.write_bytes(data)
    with pytest.raises(RecordError, match="unreadable-2"):
        record.read_state(path)


def test_a_full_disk_leaves_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    record.write(path, record.StateRecord(boot_id="old", state=State()))
    (tmp_path / ".state.json.new").mkdir()
    with pytest.raises(OSError):
        record.write(path, record.StateRecord(boot_id="new", state=State()))
    kept = record.read_state(path)
    assert kept is not None
    assert kept.boot_id == "old"


KEPT = Path(__file__).parent / "records"
"""Records as earlier versions of qsup wrote them."""


def test_a_launch_of_version_1_is_read_as_one_without_helpers(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    shutil.copy(KEPT / "launch-1.json", path)
    read = record.read_launch(path)
    assert read is not None
    assert (read.version, read.token, read.helpers) == (record.VERSION, "0123456789abcdef", ())
    assert read.identity is not None
    assert read.identity.pid == 4711
    assert codec.decode(bytes(read.spec)) == GuestSpec(name="web1")


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_of_an_earlier_version_is_read_as_it_was(version: int, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    shutil.copy(KEPT / f"state-{version}.json", path)
    read = record.read_state(path)
    assert read is not None
    launch = msgspec.structs.replace(LAUNCH, ready_after=None)
    assert (read.version, read.state) == (record.VERSION, changed(STATES[Phase.RUNNING], launch=launch))


def test_times_of_another_boot_are_as_long_ago_in_this_one() -> None:
    kept = record.StateRecord(boot_id="b", now=1000.0, wall=5000.0, state=STATES[Phase.BACKOFF])
    assert 995.0 + kept.shift(now=20.0, wall=5060.0) == 20.0 - 60.0 - 5.0
    # A clock that was set back says nothing about how long the host was down.
    assert 995.0 + kept.shift(now=20.0, wall=4000.0) == 20.0 - 5.0


def test_helpers_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    helper = Helper("tpm", ("/usr/bin/swtpm", "socket"), 7, b"\0\xff", 8, "/state/tpm")
    identity = Identity(pid=7, start_time=8, boot_id="b", token="t")
    helpers = (record.HelperRecord(helper=helper, identity=identity), record.HelperRecord(helper=helper))
    record.write(
        path,
        record.LaunchRecord(boot_id="b", token="t", accel="kvm", spec=msgspec.Raw(b"{}"), helpers=helpers),
    )
    read = record.read_launch(path)
    assert read is not None
    assert read.helpers == helpers


def test_a_launch_of_an_earlier_release_is_in_no_scope_and_one_that_is_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"
    shutil.copy(KEPT / "launch-1.json", path)
    read = record.read_launch(path)
    assert read is not None
    assert (read.scope, read.limits) == (None, record.NOTHING)
    scope = Scope(
        way=Way.SYSTEMD, name="qsup-web1.scope", directory="/sys/fs/cgroup/qsup.slice/qsup-web1.scope"
    )
    limits = Limits(tasks_max=50, memory_max=Size(1 << 30), disk={"a": DiskLimits(read_iops_max=7)})
    written = msgspec.structs.replace(read, scope=scope, limits=msgspec.Raw(codec.encode_limits(limits)))
    record.write(path, written)
    read = record.read_launch(path)
    assert read is not None
    assert read.scope == scope
    assert codec.decode_limits(bytes(read.limits)) == limits
    with pytest.raises(RecordError):
        codec.decode_limits(b'{"unknown": 1}')


def test_nothing_but_a_file_is_a_record(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "state.json", tmp_path / "elsewhere"
    elsewhere.write_bytes(GOOD)
    path.symlink_to(elsewhere)
    with pytest.raises(RecordError, match=r"cannot read the record .*state\.json"):
        record.read_state(path)
    record.write(path, record.StateRecord(boot_id="b", state=State()))
    assert elsewhere.read_bytes() == GOOD, "the link was replaced, and not followed"
    assert record.read_state(path) is not None
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordError, match="it is no file"):
        record.read_state(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordError, match="cannot read the record"):
        record.read_state(path)
