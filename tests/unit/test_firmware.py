"""Which firmware a guest gets: the descriptors that are read, and the one that suits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup import firmware
from qsup.argv.build import build
from qsup.argv.facts import FirmwareDescriptor, HostFacts, MachineType
from qsup.argv.files import CopyFile
from qsup.argv.invocation import Invocation
from qsup.errors import SpecError
from qsup.preflight.firmware import obstacles
from qsup.preflight.obstacle import Plan
from qsup.spec.base import HostPath
from qsup.spec.tables.machine import Accel, Firmware, Machine
from tests.golden.cases import FIRMWARE
from tests.unit.argv_guests import CONTEXT, guest
from tests.unit.argv_parsing import values


def descriptor(name: str, **changes: Any) -> str:
    """A descriptor as distributions write it."""
    flash = {
        "device": "flash",
        "executable": {"filename": f"/{name}.code", "format": "raw"},
        "nvram-template": {"filename": f"/{name}.vars", "format": "qcow2"},
    }
    whole = {
        "description": name,
        "interface-types": ["uefi"],
        "mapping": flash,
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": ["acpi-s3"],
        "tags": [],
    }
    return json.dumps(whole | changes)


def codes(*places: Path) -> list[str]:
    return [one.code for one in firmware.descriptors([str(place) for place in places])]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("share", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "share/50-a.json").write_text(descriptor("a"))
    (tmp_path / "share/60-b.json").write_text(descriptor("b"))
    return tmp_path / "share", tmp_path / "etc"


def test_descriptors_count_in_the_order_of_their_names_whatever_their_directory(
    places: tuple[Path, Path],
) -> None:
    share, etc = places
    (etc / "55-c.json").write_text(descriptor("c"))
    assert codes(share, etc) == ["/a.code", "/c.code", "/b.code"]


def test_a_later_directory_replaces_or_hides_a_descriptor_by_its_name(places: tuple[Path, Path]) -> None:
    share, etc = places
    (etc / "50-a.json").write_text(descriptor("other"))
    (etc / "60-b.json").symlink_to("/dev/null")
    assert codes(share, etc, share.parent / "missing") == ["/other.code"]


def test_what_is_no_descriptor_is_left_out_aloud(
    places: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    share, etc = places
    (etc / "10-torn.json").write_text(descriptor("torn")[:-5])
    (etc / "20-empty.json").write_text("")
    (etc / "30-kernel.json").write_text(descriptor("kernel", mapping={"device": "kernel", "filename": "/k"}))
    (etc / "README").write_text("no descriptor")
    assert codes(share, etc) == ["/a.code", "/b.code"]
    assert ["10-torn.json" in record.message for record in caplog.records] == [True]


def test_a_descriptor_is_read_whole(places: tuple[Path, Path]) -> None:
    share, etc = places
    (etc / "10-memory.json").write_text(descriptor("m", mapping={"device": "memory", "filename": "/m"}))
    memory, flash, _ = firmware.descriptors([str(share), str(etc)])
    assert (memory.mode, memory.code, memory.nvram) == ("memory", "/m", None)
    assert flash == FirmwareDescriptor(
        path=str(share / "50-a.json"),
        interfaces=("uefi",),
        targets=(("x86_64", ("pc-q35-*",)),),
        features=frozenset({"acpi-s3"}),
        mode="split",
        code="/a.code",
        nvram="/a.vars",
        nvram_format="qcow2",
    )


def test_the_host_is_looked_at_only_for_guests_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "directories", lambda: ("/nonexistent",))
    facts = HostFacts("/q", kvm=True)
    assert firmware.with_firmware(facts, guest()).firmware is None
    assert firmware.with_firmware(facts, guest(machine=Machine(firmware=Firmware.UEFI))).firmware == ()
    named = Machine(firmware=Firmware.UEFI, firmware_code=HostPath("/c"))
    assert firmware.with_firmware(facts, guest(machine=named)).firmware is None


def started(*known: FirmwareDescriptor, facts: HostFacts | None = None, **machine: Any) -> Invocation:
    facts = msgspec.structs.replace(facts or HostFacts("/q", kvm=True), firmware=known)
    return build(guest(machine=Machine(**{"firmware": Firmware.UEFI, **machine})), facts, CONTEXT)


def nodes(made: Invocation) -> dict[str, str]:
    return {node["node-name"]: node.get("filename", node["driver"]) for node in values(made, "-blockdev")}


SECURE, PLAIN = FIRMWARE


def test_plain_uefi_takes_no_firmware_that_insists_on_secure_boot() -> None:
    made = started(SECURE, PLAIN)
    assert nodes(made) == {
        "file-firmware-code": PLAIN.code,
        "firmware-code": "raw",
        "file-firmware-nvram": "/var/lib/qsup/guests/web1/nvram-uefi.fd",
        "firmware-nvram": "raw",
    }
    words = dict(values(made, "-machine")[0])
    assert (words["pflash0"], words["pflash1"]) == ("firmware-code", "firmware-nvram")
    assert "smm" not in words
    assert made.files == (
        CopyFile(str(PLAIN.nvram), "/var/lib/qsup/guests/web1/nvram-uefi.fd", ("machine", "firmware")),
    )


def test_secure_boot_takes_keys_that_are_enrolled_and_guards_the_flash() -> None:
    unenrolled = msgspec.structs.replace(SECURE, features=SECURE.features - {"enrolled-keys"}, code="/no")
    made = started(unenrolled, PLAIN, SECURE, firmware=Firmware.UEFI_SECURE_BOOT)
    assert nodes(made)["file-firmware-code"] == SECURE.code
    assert dict(values(made, "-machine")[0])["smm"] == "on"
    assert dict(values(made, "-global")[0]) == {"driver": "cfi.pflash01", "property": "secure", "value": "on"}


def test_an_alias_is_matched_by_the_type_that_it_stands_for() -> None:
    new = msgspec.structs.replace(PLAIN, targets=(("x86_64", ("pc-q35-9.*",)),))
    machines = {"q35": MachineType("pc-q35-9.1", 288)}
    assert started(new, facts=HostFacts("/q", kvm=True, machines=machines)).files
    with pytest.raises(SpecError, match='no firmware here is "uefi" for q35; install one'):
        started(new)


@pytest.mark.parametrize(
    "changes",
    [
        {"interfaces": ("bios",)},
        {"targets": (("aarch64", ("pc-q35-*",)),)},
        {"targets": (("x86_64", ("pc-i440fx-*",)),)},
        {"nvram": None},
        {"mode": "unheard-of"},
        {"code_format": "vmdk"},
    ],
    ids=repr,
)
def test_what_does_not_suit_is_not_taken(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="no firmware here"):
        started(msgspec.structs.replace(PLAIN, **changes))


def test_variables_that_last_are_preferred_and_each_mapping_comes_in_its_own_way() -> None:
    memory = msgspec.structs.replace(PLAIN, mode="memory", nvram=None, code="/m")
    combined = msgspec.structs.replace(PLAIN, mode="combined", nvram=None, code="/c", code_format="qcow2")
    stateless = msgspec.structs.replace(PLAIN, mode="stateless", nvram=None, code="/s")
    assert values(started(memory), "-bios") == ["/m"]
    assert nodes(started(memory, stateless)) == {"file-firmware-code": "/s", "firmware-code": "raw"}
    made = started(memory, stateless, combined)
    assert dict(values(made, "-machine")[0])["pflash0"] == "firmware-nvram"
    assert made.files == (
        CopyFile("/c", "/var/lib/qsup/guests/web1/nvram-uefi.qcow2", ("machine", "firmware")),
    )
    assert nodes(started(memory, combined, PLAIN))["file-firmware-code"] == PLAIN.code


def test_a_firmware_that_the_file_names_is_taken_as_it_is() -> None:
    made = started(firmware_code=HostPath("/my.qcow2"), nvram_template=HostPath("/vars.fd"))
    assert nodes(made)["firmware-code"] == "qcow2"
    assert [file.path for file in made.files] == ["/var/lib/qsup/guests/web1/nvram-uefi.fd"]
    assert not started(firmware_code=HostPath("/my.fd")).files
    bios = started(firmware=Firmware.BIOS, firmware_code=HostPath("/seabios.bin"))
    assert values(bios, "-bios") == ["/seabios.bin"]


def test_a_host_that_was_not_asked_is_told_nothing() -> None:
    made = build(guest(machine=Machine(firmware=Firmware.UEFI)), HostFacts("/q", kvm=True), CONTEXT)
    assert not values(made, "-blockdev")


def test_secure_boot_is_refused_where_the_machine_cannot_guard_the_flash() -> None:
    with pytest.raises(SpecError, match="is for q35"):
        started(SECURE, firmware=Firmware.UEFI_SECURE_BOOT, type="pc")


def test_missing_firmware_and_variables_of_another_build_are_told(tmp_path: Path) -> None:
    template, kept = tmp_path / "vars.fd", tmp_path / "nvram-uefi.fd"
    machine = Machine(
        accel=Accel.TCG,
        firmware=Firmware.UEFI,
        firmware_code=HostPath("/nonexistent.fd"),
        nvram_template=HostPath(template),
    )
    context = msgspec.structs.replace(CONTEXT, state_dir=str(tmp_path))
    facts = HostFacts("/q", kvm=True)
    plan = Plan(guest(machine=machine), facts, build(guest(machine=machine), facts, context))
    missing = [str(obstacle) for obstacle in obstacles(plan)]
    assert missing[0].startswith("machine.firmware-code: /nonexistent.fd does not exist")
    assert missing[1].startswith(f"machine.nvram-template: {template} does not exist")
    template.write_bytes(b"12345678")
    assert len(list(obstacles(plan))) == 1
    kept.write_bytes(b"1234")
    assert "holds 4 bytes of variables" in str(list(obstacles(plan))[1])
