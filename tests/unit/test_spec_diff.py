"""What an edit changes, as it is told."""

from __future__ import annotations

import msgspec

from qsup.spec.base import HostPath
from qsup.spec.diff import Change, diff
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, RestartOn, RestartPolicy, Stop
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import Disk
from qsup.spec.tables.limits import Limits, NumaPolicy
from qsup.spec.tables.memory import Memory
from qsup.spec.tables.nic import Nic
from qsup.spec.tables.ready import Ready, ReadyCheck
from qsup.spec.tables.serial import Serial
from qsup.units import Duration, Size


def test_a_difference_is_told_key_by_key_and_live_keys_are_known() -> None:
    old = GuestSpec(name="a", disk={"root": Disk(file=HostPath("/a"))}, memory=Memory(size=Size(1 << 30)))
    new = msgspec.structs.replace(
        old,
        memory=Memory(size=Size(2 << 30)),
        autostart=True,
        disk={},
        nic={"lan": Nic(forward=("tcp::1:2",))},
        restart=RestartPolicy(limit=1, on=RestartOn(guest_reset=Reaction.STOP)),
    )
    changes = {change.path: change for change in diff(old, new)}
    assert str(changes["memory.size"]) == "memory.size: 1 GiB → 2 GiB"
    assert str(changes["disk.root.file"]) == "disk.root.file: /a → (absent)"
    assert changes["nic.lan.forward"].new == "[tcp::1:2]"
    live = {path for path, change in changes.items() if change.live}
    assert live == {"autostart", "restart.limit"}
    assert "restart.on.guest-reset" in changes
    assert diff(old, old) == ()


def test_the_order_of_devices_is_a_difference_as_it_decides_on_names_and_slots() -> None:
    old = GuestSpec(name="a", serial={"one": Serial(), "two": Serial()})
    new = msgspec.structs.replace(old, serial={"two": Serial(), "new": Serial(), "one": Serial()})
    swapped = msgspec.structs.replace(old, serial={"two": Serial(), "one": Serial()})
    assert [(str(change), change.live) for change in diff(old, swapped)] == [
        ("serial: [one, two] → [two, one]", False)
    ]
    assert diff(old, new)[-1].path == "serial"


def test_differences_come_in_the_order_of_the_declarations() -> None:
    old = GuestSpec(name="a")
    new = msgspec.structs.replace(
        old, stop=Stop(timeout=Duration(1)), boot=Boot(kernel=HostPath("/k")), description="x"
    )
    assert [change.path for change in diff(old, new)] == ["description", "boot.kernel", "stop.timeout"]


def test_a_credential_is_compared_and_not_shown() -> None:
    old = GuestSpec(name="a", credential={"t.x": Credential(text="hush")})
    new = GuestSpec(name="a", credential={"t.x": Credential(text="hush now")})
    (change,) = diff(old, new)
    assert str(change) == "credential.t.x.text: (not shown) → (not shown)"
    assert "hush" not in "".join(str(change) for change in diff(old, GuestSpec(name="a")))


def test_only_a_report_over_vsock_is_something_that_qemu_must_be_told_of() -> None:
    def change(old: ReadyCheck, new: ReadyCheck) -> Change:
        specs = (GuestSpec(name="web1", ready=Ready(check=check)) for check in (old, new))
        (found,) = diff(*specs)
        return found

    assert change(ReadyCheck.RUNNING, ReadyCheck.AGENT).live
    assert not change(ReadyCheck.AGENT, ReadyCheck.NOTIFY).live
    assert not change(ReadyCheck.NOTIFY, ReadyCheck.RUNNING).live


def test_limits_change_without_a_restart_but_for_those_that_count_as_qemu_starts() -> None:
    old = GuestSpec(name="web1", limits=Limits(tasks_max=50, slice="a.slice"))
    new = GuestSpec(
        name="web1",
        limits=Limits(tasks_max=60, memory_max=Size(1 << 30), numa_policy=NumaPolicy.BIND, numa_mask="0"),
    )
    assert {change.path: change.live for change in diff(old, new)} == {
        "limits.tasks-max": True,
        "limits.memory-max": True,
        "limits.numa-policy": False,
        "limits.numa-mask": False,
        "limits.slice": False,
    }
