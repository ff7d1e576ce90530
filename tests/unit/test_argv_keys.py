from __future__ import annotations

import msgspec
import pytest

from qsup.argv.build import build
from qsup.argv.invocation import Invocation
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.balloon import Balloon
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.clock import ClockBase, DriftFix, PitTick
from qsup.spec.tables.cloud_init import CloudInit
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import (
    Aio,
    Cache,
    Cdrom,
    CdromBus,
    DetectZeroes,
    Discard,
    Disk,
    DiskBus,
    DiskFormat,
    ReadError,
    WriteError,
)
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.fw_cfg import FwCfg
from qsup.spec.tables.hyperv import Hyperv
from qsup.spec.tables.input import Keyboard, Pointer
from qsup.spec.tables.iothread import IoThread
from qsup.spec.tables.machine import Accel, Firmware, Iommu, Machine, UsbController
from qsup.spec.tables.memory import Memory, MemoryBackend
from qsup.spec.tables.nic import Nic, NicModel, NicType
from qsup.spec.tables.numa import HostPolicy, Numa
from qsup.spec.tables.panic import Panic, PanicModel
from qsup.spec.tables.parallel import Parallel
from qsup.spec.tables.passthrough import PciDevice, UsbDevice, UsbRedirect
from qsup.spec.tables.rng import Rng
from qsup.spec.tables.serial import Serial, SerialType
from qsup.spec.tables.share import Share, ShareCache, ShareSecurity, ShareType
from qsup.spec.tables.smbios import Smbios
from qsup.spec.tables.sound import Sound, SoundBackend, SoundModel
from qsup.spec.tables.throttle import Throttle
from qsup.spec.tables.tpm import Tpm, TpmModel
from qsup.spec.tables.video import VideoType
from qsup.spec.tables.vsock import Vsock
from qsup.spec.tables.watchdog import Watchdog, WatchdogAction, WatchdogModel
from qsup.units import Duration, Size
from tests.unit.argv_guests import CONTEXT, KVM, disk, guest

RICH = guest(
    machine=Machine(
        type="q35",
        accel=Accel.KVM,
        firmware=Firmware.UEFI,
        firmware_code=HostPath("/f"),
        nvram_template=HostPath("/v"),
    ),
    boot=Boot(kernel=HostPath("/k"), initrd=HostPath("/i"), cmdline="c", menu=True),
    cpu=Cpu(count=4, max=8),
    memory=Memory(
        size=Size.parse("4 GiB"),
        max=Size.parse("8 GiB"),
        slots=4,
        backend=MemoryBackend.FILE,
        path=HostPath("/m"),
    ),
    numa={
        "a": Numa(cpus="0-3", memory=Size.parse("2 GiB"), host_nodes="0", policy=HostPolicy.BIND),
        "b": Numa(cpus="4-7", memory=Size.parse("2 GiB")),
    },
    balloon=Balloon(enabled=True),
    disk={
        "a": disk(cache=Cache.NONE),
        "n": Disk(nbd="nbd://h/x"),
        "s": disk(bus=DiskBus.SATA),
    },
    cloud_init=CloudInit(),
    throttle={"t": Throttle(iops_total=1)},
    iothread={"i": IoThread()},
    cdrom={"a": Cdrom()},
    nic={
        "a": Nic(),
        "t": Nic(type=NicType.TAP, interface="t0"),
        "b": Nic(type=NicType.BRIDGE, bridge="br0"),
        "s": Nic(type=NicType.SOCKET, listen="127.0.0.1:1"),
        "c": Nic(type=NicType.SOCKET, connect="127.0.0.1:1"),
        "m": Nic(type=NicType.SOCKET, multicast="230.0.0.1:1"),
        "v": Nic(type=NicType.VHOST_USER, socket=HostPath("/switch.sock")),
    },
    vsock=Vsock(enabled=True),
    rng=Rng(enabled=True),
    usb={"a": UsbDevice(vendor="0951", product="1666"), "b": UsbDevice(bus=1, port="1")},
    usb_redirect={"a": UsbRedirect()},
    pci={"a": PciDevice(host="01:00.0"), "m": PciDevice(mdev="3f0a3a3e-6c3c-4f0e-9b5e-0b1f6d2a7c11")},
    serial={"s": Serial()},
    parallel={"p": Parallel(file=HostPath("/lp")), "d": Parallel(device=HostPath("/dev/parport0"))},
    watchdog=Watchdog(model=WatchdogModel.I6300ESB),
    panic=Panic(enabled=True),
    display=Display(type=DisplayType.VNC, port=5901, tls=HostPath("/tls"), gl=True),
    sound=Sound(model=SoundModel.HDA, backend=SoundBackend.WAV, file=HostPath("/wav")),
    fw_cfg={"t": FwCfg(text="t"), "f": FwCfg(file=HostPath("/f"))},
    credential={"t": Credential(text="t"), "f": Credential(file=HostPath("/f"))},
    tpm=Tpm(enabled=True),
    share={"a": Share(path=HostPath("/s")), "n": Share(path=HostPath("/s"), type=ShareType.NINEP)},
)
CHANGES: dict[str, dict[str, object]] = {
    "machine": {
        "type": "pc",
        "accel": Accel.TCG,
        "iommu": Iommu.VIRTIO,
        "usb": UsbController.EHCI,
        "firmware": Firmware.BIOS,
        "firmware_code": HostPath("/other"),
        "nvram_template": None,
    },
    "": {"uuid": "3f0a3a3e-6c3c-4f0e-9b5e-0b1f6d2a7c11"},
    "cpu": {
        "model": "qemu64",
        "features": {"avx": False},
        "count": 2,
        "max": 4,
        "sockets": 4,
        "dies": 2,
        "cores": 2,
        "threads": 2,
    },
    "numa.a": {
        "cpus": "0",
        "memory": Size.parse("1 GiB"),
        "host_nodes": "1",
        "policy": HostPolicy.INTERLEAVE,
        "distance": {"b": 15},
    },
    "hyperv": {
        **dict.fromkeys(Hyperv.__struct_fields__, True),
        "spinlocks": 4096,
        "vendor_id": "KVM Hv",
    },
    "memory": {
        "size": Size.parse("2 GiB"),
        "max": Size.parse("4 GiB"),
        "slots": 2,
        "backend": MemoryBackend.MEMFD,
        "path": HostPath("/hugepages"),
        "page_size": Size.parse("2 MiB"),
        "share": False,
        "prealloc": True,
        "lock": True,
        "merge": False,
    },
    "balloon": {"enabled": False, "free_page_reporting": False, "deflate_on_oom": False},
    "boot": {
        "order": ("t",),
        "menu": False,
        "menu_timeout": Duration.parse("1 s"),
        "kernel": HostPath("/other"),
        "initrd": None,
        "cmdline": "other",
    },
    "disk.a": {
        "file": HostPath("/other"),
        "format": DiskFormat.RAW,
        "bus": DiskBus.VIRTIO_SCSI,
        "read_only": True,
        "cache": Cache.UNSAFE,
        "aio": Aio.NATIVE,
        "discard": Discard.IGNORE,
        "detect_zeroes": DetectZeroes.UNMAP,
        "werror": WriteError.STOP,
        "rerror": ReadError.STOP,
        "throttle": "t",
        "iothread": "i",
        "queues": 2,
        "serial": "S1",
    },
    "disk.n": {"nbd": "nbd://h/y"},
    "throttle.t": dict.fromkeys(Throttle.__struct_fields__, 2),
    "cloud_init": {"bus": CdromBus.USB},
    "cdrom.a": {"file": HostPath("/other"), "bus": CdromBus.VIRTIO_SCSI},
    "nic.a": {
        "model": NicModel.E1000,
        "mac": "52:54:00:00:00:01",
        "link": False,
        "mtu": 9000,
        "forward": ("tcp::1:2",),
        "network": "10.1.0.0/16",
        "hostname": "web1",
        "restrict": True,
        "dns": "10.0.2.9",
        "tftp": HostPath("/srv/tftp"),
        "bootfile": "pxelinux.0",
    },
    "nic.t": {"interface": "t1", "type": NicType.USER, "queues": 2, "vhost": True},
    "nic.b": {"bridge": "br1", "helper": HostPath("/helper")},
    "nic.s": {"listen": "127.0.0.1:2"},
    "nic.c": {"connect": "127.0.0.1:2"},
    "nic.m": {"multicast": "230.0.0.2:1"},
    "nic.v": {"socket": HostPath("/other.sock")},
    "display": {
        "type": DisplayType.SPICE,
        "port": 5902,
        "address": "::1",
        "password_file": HostPath("/password"),
        "tls": HostPath("/other"),
        "tls_verify": True,
        "gl": False,
        "render_node": HostPath("/dev/dri/renderD129"),
    },
    "video": {
        "type": VideoType.STD,
        "memory": Size.parse("32 MiB"),
        "heads": 2,
        "resolution": "800x600",
    },
    "input": {"keyboard": Keyboard.USB, "pointer": Pointer.PS2},
    "sound": {
        "model": SoundModel.AC97,
        "backend": SoundBackend.ALSA,
        "file": HostPath("/other"),
        "server": HostPath("/socket"),
    },
    "vsock": {"enabled": False, "cid": 3},
    "usb.a": {"vendor": "0952", "product": "1667"},
    "usb.b": {"bus": 2, "port": "1.2", "address": 3},
    "usb_redirect.a": {"address": "127.0.0.1:1"},
    "pci.a": {"host": "01:00.1", "rom": False, "rom_file": HostPath("/rom"), "primary": True},
    "pci.m": {"mdev": "3f0a3a3e-6c3c-4f0e-9b5e-0b1f6d2a7c12"},
    "rng": {"enabled": False, "source": HostPath("/dev/hwrng"), "rate": Size.parse("1 KiB")},
    "tpm": {"enabled": False, "model": TpmModel.TIS},
    "share.a": {
        "path": HostPath("/other"),
        "type": ShareType.NINEP,
        "tag": "t",
        "read_only": True,
        "cache": ShareCache.NEVER,
    },
    "share.n": {"security": ShareSecurity.NONE},
    "agent": {"enabled": True},
    "serial.s": {"type": SerialType.VIRTIO},
    "parallel.p": {"file": HostPath("/lp1")},
    "parallel.d": {"device": HostPath("/dev/parport1")},
    "watchdog": {"model": WatchdogModel.ITCO, "action": WatchdogAction.PAUSE},
    "panic": {"enabled": False, "model": PanicModel.PCI},
    "smbios": {
        **dict.fromkeys(Smbios.__struct_fields__, "x"),
        "bios_date": "12/31/2026",
        "bios_release": "1.2",
        "oem_strings": ("a", "b"),
    },
    "fw_cfg.t": {"name": "opt/other", "text": "other"},
    "fw_cfg.f": {"file": HostPath("/g")},
    "credential.t": {"name": "other", "text": "other"},
    "credential.f": {"file": HostPath("/g")},
    "clock": {
        "base": ClockBase.LOCALTIME,
        "drift_fix": DriftFix.SLEW,
        "hpet": False,
        "pit_tick": PitTick.DISCARD,
    },
    "qemu": {"args": ("-s",)},
}
NOT_QEMUS: dict[str, set[str]] = {
    "serial": {"log", "log_size"},
    "qemu": {"binary", "start_timeout", "files", "user", "private_mounts"},
    "cpu": {"pin", "emulator_pin"},
    "machine": {"pin"},
    "disk": {"create", "base", "base_format"},
    "cloud_init": set(CloudInit.__struct_fields__) - {"bus"},
}
"""Keys of those tables that stand elsewhere than among the options."""


def changed(spec: GuestSpec, table: str, key: str, value: object) -> GuestSpec:
    family, _, ident = table.partition(".")
    if not family:
        return msgspec.structs.replace(spec, **{key: value})
    section = getattr(spec, family)
    if not ident:
        return msgspec.structs.replace(spec, **{family: msgspec.structs.replace(section, **{key: value})})
    changed_table = msgspec.structs.replace(section[ident], **{key: value})
    return msgspec.structs.replace(spec, **{family: {**section, ident: changed_table}})


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, keys in CHANGES.items() for key in keys])
def test_every_key_has_its_effect_on_the_options(table: str, key: str) -> None:
    before = build(RICH, KVM, CONTEXT)
    after = build(changed(RICH, table, key, CHANGES[table][key]), KVM, CONTEXT)
    assert _made(after) != _made(before)


def _made(invocation: Invocation) -> tuple[object, ...]:
    return invocation.options, invocation.commands, invocation.files, invocation.helpers, invocation.taps


def test_the_changes_tried_leave_out_no_key() -> None:
    tried: dict[str, set[str]] = {}
    for table, keys in CHANGES.items():
        tried.setdefault(table.partition(".")[0], set()).update(keys)
    of_the_file = tried.pop("")
    for family, names in tried.items():
        section = getattr(RICH, family)
        struct = next(iter(section.values())) if isinstance(section, dict) else section
        assert names | NOT_QEMUS.get(family, set()) == set(struct.__struct_fields__), family
    supervision = {
        "name",
        "description",
        "profile",
        "autostart",
        "after",
        "iothread",
        "ready",
        "health",
        "hang",
        "drill",
        "restart",
        "stop",
        "limits",
    }
    assert tried.keys() | of_the_file | supervision == set(GuestSpec.__struct_fields__)
