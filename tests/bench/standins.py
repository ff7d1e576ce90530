"""Stands in for what a guest file names and this host has not: files, interfaces, processors, pages, secrets.

What stands in has the same form on QEMU's command line. What nothing can stand in for is named, and not tried.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.functional.test_argv_accepted import make_image, make_kernel

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec

FIRMWARE: Final = Path("/usr/share/OVMF")
PATH: Final = re.compile(r"(?:(?<=[=:\"])|^)/[^,\"]*")
HARDWARE: Final = {"pci": "a PCI device for VFIO", "vsock": "/dev/vhost-vsock"}
HELPERS: Final = {"tpm": "swtpm"}
IN_OWN_NETWORK: Final = """
set -e
{commands}
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/etc/qemu /mnt/work
echo 'allow all' >/mnt/etc/qemu/bridge.conf
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work overlay /etc
exec "$@"
"""


def unavailable(table: dict[str, Any]) -> str | None:
    """What the guest needs that nothing can stand in for; None if there is nothing of the kind."""
    if "pci" in table:
        return HARDWARE["pci"]
    if "vsock" in table and not os.path.exists("/dev/vhost-vsock"):
        return HARDWARE["vsock"]
    if "tpm" in table:
        return HELPERS["tpm"]
    if any(share.get("type") != "9p" for share in table.get("share", {}).values()):
        return "virtiofsd"
    if any(nic.get("type") == "passt" for nic in table.get("nic", {}).values()):
        return "passt"
    args = " ".join(table.get("qemu", {}).get("args", ()))
    device = re.search(r"/dev/(input|parport|tpm|tty|sg|vhost|vfio)[^,\" ]*", args)
    if device and not os.path.exists(device[0]):
        return device[0]
    if any("bus" in device for device in table.get("usb", {}).values()):
        return "a USB device in a certain port"
    return None


def with_stand_ins(guest: dict[str, Any], root: Path) -> dict[str, Any]:
    """The table of a guest file with everything that it names in ``root``."""
    table = copy.deepcopy(guest)
    for disk in table.get("disk", {}).values():
        if "file" in disk:
            disk["file"] = _image(root, disk["file"], disk.get("format", "qcow2"))
    for drive in table.get("cdrom", {}).values():
        if "file" in drive:
            drive["file"] = _image(root, drive["file"], "raw")
    _boot(table, root)
    _processors(table)
    _memory(table)
    _files(table, root)
    for key, nic in table.get("nic", {}).items():
        if not os.path.exists("/dev/vhost-net"):
            nic.pop("vhost", None)
        if "socket" in nic:
            nic["socket"] = str(_parent(root, f"/{key}.sock"))
    args = table.get("qemu", {}).get("args", [])
    for index, word in enumerate(args):
        args[index] = _word(root, word)
    table.get("qemu", {}).pop("binary", None)
    return table


def wrapper(spec: GuestSpec) -> list[str]:
    """The command that makes the interfaces that the guest names, where nobody else sees them."""
    commands = ["ip link set lo up multicast on", "ip route add 230.0.0.0/8 dev lo"]
    for nic in spec.nic.values():
        if nic.interface:
            queues = " multi_queue" if (nic.queues or 1) > 1 else ""
            commands.append(f"ip tuntap add dev {nic.interface} mode tap{queues} || true")
        if nic.bridge:
            commands.append(f"ip link add {nic.bridge} type bridge || true")
    if spec.usb_redirect:
        return []
    return [
        "unshare",
        "--net",
        "--mount",
        "sh",
        "-c",
        IN_OWN_NETWORK.format(commands="\n".join(commands)),
        "sh",
    ]


def _parent(root: Path, path: str) -> Path:
    file = root / "files" / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _image(root: Path, path: str, form: str) -> str:
    file = _parent(root, path)
    if file.is_dir():
        file = file / "image"
    if not file.exists():
        make_image(str(file), form)  # type: ignore[arg-type]
    return str(file)


def _word(root: Path, word: str) -> str:
    """An argument with files, addresses and block devices that are here."""
    if "memory-backend-file" in word:
        return re.sub(r"(mem-path\"?[=:]\s*\"?)/[^,\"]*", rf"\1{root}/memory", word)
    if "filename" in word:
        word = re.sub(r"host_(device|cdrom)", "file", word)
    word = re.sub(r"\b(host|localaddr)=\d+\.\d+\.\d+\.\d+", r"\1=127.0.0.1", word)
    return PATH.sub(lambda found: _any_file(root, found[0]), word)


def _any_file(root: Path, path: str) -> str:
    """A file of the size of an ACPI table, with a name that is short enough for a socket too."""
    if os.path.exists(path) or path.startswith(("/objects/", "/machine/")):
        return path
    file = root / f"f-{zlib.crc32(path.encode()):x}"
    file.write_bytes(bytes(4096))
    return str(file)


def _boot(table: dict[str, Any], root: Path) -> None:
    boot, machine = table.get("boot", {}), table.get("machine", {})
    if "kernel" in boot:
        boot["kernel"] = str(_parent(root, boot["kernel"]))
        make_kernel(boot["kernel"])
    if "initrd" in boot:
        boot["initrd"] = _image(root, boot["initrd"], "raw")
    for key, stock in (("firmware-code", "OVMF_CODE_4M.fd"), ("nvram-template", "OVMF_VARS_4M.fd")):
        if key in machine:
            machine[key] = str(_parent(root, machine[key]))
            shutil.copy(FIRMWARE / stock, machine[key])


def _processors(table: dict[str, Any]) -> None:
    """KVM of a nested host lacks most CPU models; TCG knows them all, and enlightenments are KVM's."""
    machine, cpu = table.setdefault("machine", {}), table.setdefault("cpu", {})
    if machine.get("accel", "kvm") != "kvm":
        return
    if "hyperv" in table or any(key.startswith("kvm") for key in cpu.get("features", {})):
        cpu["model"] = "qemu64"
        cpu["features"] = {key: on for key, on in cpu.get("features", {}).items() if key.startswith("kvm")}
    else:
        machine["accel"] = "tcg"


def _memory(table: dict[str, Any]) -> None:
    memory = table.get("memory", {})
    for key in ("page-size", "prealloc", "lock"):
        memory.pop(key, None)
    if "path" in memory:
        memory["path"] = "/dev/shm"
    for node in table.get("numa", {}).values():
        if "host-nodes" in node:
            node["host-nodes"] = "0"


def _files(table: dict[str, Any], root: Path) -> None:
    if "source" in (rng := table.get("rng", {})):
        rng["source"] = "/dev/urandom"
    for entry in (*table.get("fw-cfg", {}).values(), *table.get("credential", {}).values()):
        if "file" in entry:
            entry["file"] = _any_file(root, entry["file"])
    for share in table.get("share", {}).values():
        directory = _parent(root, share["path"])
        directory.mkdir(exist_ok=True)
        share["path"] = str(directory)
    display = table.get("display", {})
    display.pop("tls", None)
    display.pop("tls-verify", None)
    display.pop("render-node", None)
    if "password-file" in display:
        file = _parent(root, display["password-file"])
        file.write_text("password")
        display["password-file"] = str(file)
    if "port" in display:
        # Others on this host may have it.
        display["port"] = 15900 + os.getpid() % 1000
        display["address"] = "127.0.0.1"
    for port in table.get("parallel", {}).values():
        port.pop("device", None)
        port["file"] = str(_parent(root, "/parallel"))
    if "file" in (sound := table.get("sound", {})):
        sound["file"] = str(_parent(root, "/sound.wav"))
