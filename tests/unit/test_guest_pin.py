"""A guest keeps the machine type that an alias meant at its first start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts, MachineType
from qsup.errors import LaunchError
from qsup.guest import record
from qsup.guest.pin import pinned
from qsup.guest.record import MachineRecord
from qsup.preflight import board
from qsup.preflight.obstacle import Plan
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.machine import Machine
from tests.unit.argv_guests import CONTEXT, guest
from tests.unit.argv_parsing import values


def facts(release: str, *others: str) -> HostFacts:
    """A QEMU whose q35 is that of a release, and which has those of others too."""
    types = {name: MachineType(name, 288) for name in (f"pc-q35-{one}" for one in (release, *others))}
    return HostFacts("/usr/bin/qemu", kvm=True, machines={**types, "q35": types[f"pc-q35-{release}"]})


OLD, NEW = facts("7.2"), facts("10.0", "7.2")
SPEC = guest()
KEPT = MachineRecord(alias="q35", machine="pc-q35-7.2")


def test_an_alias_is_pinned_to_what_it_means_and_stays_that_with_another_qemu() -> None:
    assert pinned(SPEC, OLD, None) == "pc-q35-7.2"
    assert pinned(SPEC, NEW, None) == "pc-q35-10.0"
    assert pinned(SPEC, NEW, KEPT) == "pc-q35-7.2"


def test_what_another_alias_was_pinned_to_says_nothing_of_this_one() -> None:
    assert pinned(SPEC, NEW, MachineRecord(alias="pc", machine="pc-i440fx-7.2")) == "pc-q35-10.0"


def test_a_versioned_type_and_one_that_is_not_to_be_pinned_are_as_the_file_says() -> None:
    assert pinned(guest(machine=Machine(type="pc-q35-7.2")), NEW, KEPT) is None
    assert pinned(guest(machine=Machine(pin=False)), NEW, KEPT) is None


def test_a_qemu_that_was_not_asked_pins_nothing_but_what_is_pinned_holds() -> None:
    unasked = HostFacts("/usr/bin/qemu", kvm=True)
    assert pinned(SPEC, unasked, None) is None
    assert pinned(SPEC, unasked, KEPT) == "pc-q35-7.2"


def test_a_type_that_qemu_has_lost_is_told_with_what_to_write() -> None:
    with pytest.raises(LaunchError, match=r'"q35" has been pc-q35-7.2 .* or write type = "pc-q35-11.0"'):
        pinned(SPEC, facts("11.0", "10.0"), KEPT)


def test_the_pinned_type_is_the_one_that_is_started() -> None:
    made = build(guest(), NEW, msgspec.structs.replace(CONTEXT, machine="pc-q35-7.2"))
    assert dict(values(made, "-machine")[0])["type"] == made.machine == "pc-q35-7.2"


def test_the_record_of_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record.write(tmp_path / "machine.json", KEPT)
    assert record.read_machine(tmp_path / "machine.json") == KEPT
    assert record.read_machine(tmp_path / "other.json") is None


def test_the_kept_machine_is_the_one_that_has_to_have_room_for_the_vcpus() -> None:
    new = MachineType("pc-q35-10.0", 4096)
    machines = {"pc-q35-7.2": MachineType("pc-q35-7.2", 288), "pc-q35-10.0": new, "q35": new}
    qemu = HostFacts("/usr/bin/qemu", kvm=True, machines=machines)
    spec = guest(cpu=Cpu(count=1, max=512))
    context = msgspec.structs.replace(CONTEXT, machine="pc-q35-7.2")
    fatal = [one for one in board.obstacles(Plan(spec, qemu, build(spec, qemu, context))) if one.fatal]
    assert [str(one) for one in fatal] == [
        "cpu.max: 512 vCPUs are more than the 288 of machine type pc-q35-7.2"
    ]
    assert not [one for one in board.obstacles(Plan(spec, qemu, build(spec, qemu, CONTEXT))) if one.fatal]
