from __future__ import annotations

import msgspec
import pytest

from qsup.argv.build import build
from qsup.spec.base import HostPath
from qsup.spec.devices import (
    Aio,
    Cache,
    Cdrom,
    Discard,
    DiskBus,
    DiskFormat,
    DisplayType,
    Nic,
    NicModel,
    NicType,
    Rng,
)
from qsup.spec.model import Accel, Boot, GuestSpec, Machine
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, disk, guest

RICH = guest(
    machine=Machine(type="q35", accel=Accel.TCG),
    boot=Boot(kernel=HostPath("/k"), initrd=HostPath("/i"), cmdline="c"),
    disk={"a": disk(cache=Cache.NONE)},
    cdrom={"a": Cdrom()},
    nic={"a": Nic(), "t": Nic(type=NicType.TAP, interface="t0"), "b": Nic(type=NicType.BRIDGE, bridge="br0")},
    rng=Rng(enabled=True),
)
CHANGES: dict[str, dict[str, object]] = {
    "machine": {"type": "pc", "accel": Accel.KVM},
    "cpu": {"model": "qemu64", "count": 2},
    "memory": {"size": Size.parse("2 GiB")},
    "boot": {"order": ("t",), "kernel": HostPath("/other"), "initrd": None, "cmdline": "other"},
    "disk.a": {
        "file": HostPath("/other"),
        "format": DiskFormat.RAW,
        "bus": DiskBus.VIRTIO_SCSI,
        "read_only": True,
        "cache": Cache.UNSAFE,
        "aio": Aio.NATIVE,
        "discard": Discard.IGNORE,
    },
    "cdrom.a": {"file": HostPath("/other"), "bus": DiskBus.VIRTIO_SCSI},
    "nic.a": {"model": NicModel.E1000, "mac": "52:54:00:00:00:01", "forward": ("tcp::1:2",)},
    "nic.t": {"interface": "t1", "type": NicType.USER},
    "nic.b": {"bridge": "br1", "helper": HostPath("/helper")},
    "display": {"type": DisplayType.VNC},
    "rng": {"enabled": False, "source": HostPath("/dev/hwrng")},
    "agent": {"enabled": True},
    "panic": {"enabled": True},
    "qemu": {"args": ("-s",)},
}
NOT_QEMUS: dict[str, set[str]] = {"qemu": {"binary", "start_timeout"}}
"""Keys of those tables that stand elsewhere than among the options."""


def changed(spec: GuestSpec, table: str, key: str, value: object) -> GuestSpec:
    family, _, ident = table.partition(".")
    section = getattr(spec, family)
    if not ident:
        return msgspec.structs.replace(spec, **{family: msgspec.structs.replace(section, **{key: value})})
    changed_table = msgspec.structs.replace(section[ident], **{key: value})
    return msgspec.structs.replace(spec, **{family: {**section, ident: changed_table}})


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, keys in CHANGES.items() for key in keys])
def test_every_key_has_its_effect_on_the_options(table: str, key: str) -> None:
    after = build(changed(RICH, table, key, CHANGES[table][key]), KVM, CONTEXT)
    assert after.options != build(RICH, KVM, CONTEXT).options


def test_the_changes_tried_leave_out_no_key() -> None:
    tried: dict[str, set[str]] = {}
    for table, keys in CHANGES.items():
        tried.setdefault(table.partition(".")[0], set()).update(keys)
    for family, names in tried.items():
        section = getattr(RICH, family)
        struct = next(iter(section.values())) if isinstance(section, dict) else section
        assert names | NOT_QEMUS.get(family, set()) == set(struct.__struct_fields__), family
    supervision = {"name", "description", "profile", "autostart", "after", "serial", "restart", "stop"}
    assert tried.keys() | supervision == set(GuestSpec.__struct_fields__)
