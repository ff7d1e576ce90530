"""Serial ports, watchdogs, the firmware's files and clocks: what of them is more than a key's own word."""

from __future__ import annotations

from typing import Any

import pytest

from qsup.argv.files import WriteFile
from qsup.errors import SpecError
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.clock import Clock, PitTick
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.fw_cfg import FwCfg
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.panic import Panic, PanicModel
from qsup.spec.tables.parallel import Parallel
from qsup.spec.tables.serial import Serial, SerialType
from qsup.spec.tables.watchdog import Watchdog, WatchdogModel
from tests.unit.argv_guests import CONTEXT, KVM, TCG, built
from tests.unit.argv_parsing import devices, values

MICROVM = Machine(type="microvm")


def ports(**kinds: SerialType) -> dict[str, Serial]:
    return {name: Serial(type=kind) for name, kind in kinds.items()}


def test_each_kind_of_serial_port_counts_its_own() -> None:
    made = devices(
        built(serial=ports(a=SerialType.PCI, b=SerialType.ISA, c=SerialType.VIRTIO, d=SerialType.ISA))
    )
    assert (made["serial-b"]["index"], made["serial-d"]["index"]) == (0, 1)
    assert made["serial-a"]["bus"] == "bridge"
    assert "bridge" in made


def test_consoles_and_agent_share_one_controller_and_never_a_port() -> None:
    consoles = {f"c{number}": SerialType.VIRTIO for number in range(28)}
    made = devices(built(serial=ports(**consoles), agent=Agent(enabled=True)))
    on_it = [device["nr"] for device in made.values() if device.get("bus") == "virtio-serial.0"]
    assert len(set(on_it)) == len(on_it) == 29
    assert made["serial-c0"]["nr"] == 0
    assert sum(device["driver"] == "virtio-serial-pci" for device in made.values()) == 1


def test_a_microvm_has_its_consoles_on_mmio() -> None:
    assert (
        devices(built(machine=MICROVM, serial=ports(a=SerialType.VIRTIO)))["virtio-serial"]["driver"]
        == "virtio-serial-device"
    )


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"serial": ports(**{f"c{number}": SerialType.VIRTIO for number in range(29)})}, "room for 28 virtio"),
        ({"serial": ports(**{f"c{number}": SerialType.PCI for number in range(4)})}, "room for 3 PCI serial"),
        ({"machine": MICROVM, "serial": ports(a=SerialType.PCI)}, "no PCI bus for pci-serial"),
        ({"machine": MICROVM, "serial": ports(a=SerialType.USB)}, "no PCI bus"),
        ({"machine": MICROVM, "watchdog": Watchdog(model=WatchdogModel.I6300ESB)}, "no PCI bus for i6300esb"),
        ({"machine": MICROVM, "panic": Panic(enabled=True, model=PanicModel.PCI)}, "no PCI bus for pvpanic"),
        ({"machine": MICROVM, "clock": Clock(hpet=False)}, "never has an HPET"),
        ({"machine": Machine(type="pc"), "watchdog": Watchdog(model=WatchdogModel.ITCO)}, "the q35 board"),
        ({"parallel": {f"p{n}": Parallel(file="/p") for n in range(4)}}, "a guest can have 3"),  # type: ignore[arg-type]
        ({"parallel": {"p": Parallel()}}, "parallel.p needs `device` or `file`"),
        ({"fw_cfg": {"a": FwCfg()}}, "fw-cfg.a needs `text` or `file`"),
        ({"credential": {"a": Credential()}}, "credential.a needs `file` or `text`"),
    ],
)  # fmt: skip
def test_what_no_qemu_could_be_started_with_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        built(**keys)


def test_a_credential_reaches_qemu_as_a_file_and_is_shown_nowhere() -> None:
    made = built(credential={"token": Credential(text="hush\nhush")})
    path = f"{CONTEXT.run_dir}/credential-token"
    (value,) = values(made, "-fw_cfg")
    assert value == [("name", "opt/io.systemd.credentials/token"), ("file", path)]
    (file,) = made.files
    assert isinstance(file, WriteFile)
    assert (file.path, file.text) == (path, "hush\nhush")
    assert "hush" not in " ".join(made.argv) + repr(made.files)


def test_the_interval_timer_is_kvms_where_there_is_kvm() -> None:
    clock = Clock(pit_tick=PitTick.DELAY)
    assert values(built(KVM, machine=Machine(accel=Accel.AUTO), clock=clock), "-global")
    assert not values(built(TCG, machine=Machine(accel=Accel.AUTO), clock=clock), "-global")
