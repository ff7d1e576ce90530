"""The real QEMU takes every command line that is written down in tests/golden, and makes of it what it should."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import MADE, QEMU_LOG, QMP_FILE, LaunchContext
from qsup.firmware import with_firmware
from qsup.guest.prepare import prepare
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.disk import Disk, DiskBus, DiskFormat
from qsup.spec.tables.hyperv import Hyperv
from qsup.spec.tables.machine import Accel, Firmware, Machine, UsbController
from qsup.spec.tables.nic import NicType
from qsup.spec.tables.panic import Panic
from qsup.spec.tables.serial import Serial
from tests.functional import helper_processes, nbd, taps
from tests.functional.helper_processes import with_programs, with_shares
from tests.functional.host_files import make_files
from tests.functional.peers import skip_unless_the_hardware_is_here, with_peers
from tests.golden.cases import CASES, load_case, name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.argv.invocation import Invocation

DEADLINE = 60.0
"""Seconds until a wait for QEMU is given up."""
TOKEN = "0123456789abcdef"
IN_OWN_NETWORK = """
set -e
ip link set lo up multicast on
ip route add 230.0.0.0/8 dev lo
ip tuntap add dev qsup-tap0 mode tap
ip tuntap add dev qsup-tap1 mode tap
ip tuntap add dev qsup-tap2 mode tap
ip tuntap add dev qsup-tap4 mode tap multi_queue
ip link add qsup-br0 type bridge
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/etc/qemu /mnt/work
echo 'allow qsup-br0' >/mnt/etc/qemu/bridge.conf
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work overlay /etc
exec "$@"
"""
"""Makes the interfaces that the guest files name, and a bridge.conf, where nobody else sees them; then becomes QEMU."""


class Launched:
    """A QEMU started from an invocation, as the daemon does it; a context manager that kills it at the end."""

    def __init__(self, invocation: Invocation, run_dir: Path, wrapper: Sequence[str] = ()) -> None:
        self.stderr = run_dir / "stderr"
        self.events: list[dict[str, Any]] = []
        self.exit_status: int | None = None
        argv = [*wrapper, *taps.words(invocation), *invocation.argv]
        with ExitStack() as ours:
            actions: list[tuple[int, int, int]] = []
            for listener in invocation.listeners:
                server = ours.enter_context(socket.socket(socket.AF_UNIX))
                server.bind(str(run_dir / listener.file))
                server.listen(1)
                # Out of the way of the numbers that QEMU is to have.
                high = fcntl.fcntl(server, fcntl.F_DUPFD_CLOEXEC, 100)
                ours.callback(os.close, high)
                actions.append((os.POSIX_SPAWN_DUP2, high, listener.fd))
            for device in invocation.devices:
                opened = os.open(device.path, os.O_RDWR | os.O_CLOEXEC)
                ours.callback(os.close, opened)
                high = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 100)
                ours.callback(os.close, high)
                actions.append((os.POSIX_SPAWN_DUP2, high, device.fd))
            for target, fd in helper_processes.started(invocation, run_dir, ours).items():
                high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
                ours.callback(os.close, high)
                actions.append((os.POSIX_SPAWN_DUP2, high, target))
            null = os.open(os.devnull, os.O_RDWR)
            stderr = os.open(self.stderr, os.O_WRONLY | os.O_CREAT)
            ours.callback(os.close, null)
            ours.callback(os.close, stderr)
            actions += [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((null, 0), (null, 1), (stderr, 2))]
            self.pid = os.posix_spawnp(argv[0], argv, dict(os.environ), file_actions=actions)
            # While we still listen ourselves, a QEMU that dies at once shows as a closed connection all the same:
            # our own ends are closed as this block ends.
            self.qmp = self.connect(run_dir / QMP_FILE)
        self._lines = self.qmp.makefile("r", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.qmp.close()
        if self.exit_status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    @staticmethod
    def connect(path: Path) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(str(path))
        return client

    def greet(self) -> None:
        assert "QMP" in self._message()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        return self._answer(command, arguments)["return"]

    def refusal(self, command: str, **arguments: Any) -> str | None:
        """QEMU's words against a command; None if it was executed."""
        error = self._answer(command, arguments).get("error")
        return str(error["desc"]) if error else None

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "event" in (message := self._message()):
            self.events.append(message)
        return message

    def event(self, name: str) -> None:
        """Wait for an event of this name; those before it are dropped."""
        while (self.events.pop(0) if self.events else self._message()).get("event") != name:
            pass

    def quit(self) -> None:
        """End QEMU and see that it went well, without a word but on what the host's CPU lacks."""
        self.execute("quit")
        self.exit_status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        said = [line for line in self.stderr.read_text().splitlines() if "host doesn't support" not in line]
        assert (self.exit_status, said) == (0, [])

    def _message(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError:
            line = ""
        assert line, f"QEMU has closed QMP and says: {self.stderr.read_text()}"
        message: dict[str, Any] = json.loads(line)
        return message


def launch(spec: GuestSpec, binary: str, run_dir: Path, wrapper: Sequence[str] = ()) -> Launched:
    facts = with_programs(with_firmware(HostFacts(binary, kvm=False), spec), spec)
    if spec.machine.firmware is not Firmware.BIOS and not os.path.exists("/usr/share/OVMF/OVMF_CODE_4M.fd"):
        pytest.skip("there is no UEFI firmware here (Debian: ovmf)")
    invocation = build(spec, facts, LaunchContext(TOKEN, str(run_dir), str(run_dir.parent)))
    asyncio.run(prepare(invocation.files, binary))
    launched = Launched(invocation, run_dir, wrapper)
    try:
        launched.greet()
        for command in invocation.commands:
            launched.execute(command.execute, **command.arguments)
    except BaseException:
        launched.__exit__()
        raise
    return launched


def marked_cases() -> list[Any]:
    def case(path: Path) -> Any:
        marks = [pytest.mark.kvm] if load_case(path).machine.accel is Accel.KVM else []
        return pytest.param(path, id=name(path), marks=marks)

    return [case(path) for path in CASES]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    (directory / MADE).mkdir(parents=True)
    return directory


@pytest.mark.parametrize("case", marked_cases())
def test_qemu_takes_the_command_line(case: Path, each_qemu: str, tmp_path: Path, run_dir: Path) -> None:
    skip_unless_the_cpu_can_be_had(load_case(case), each_qemu)
    skip_unless_huge_pages_are_free(load_case(case))
    skip_unless_the_hardware_is_here(load_case(case))
    with ExitStack() as cleanup:
        spec = with_peers(with_images(load_case(copied(case, tmp_path)), tmp_path, cleanup), cleanup)
        make_files(spec)
        with_shares(spec)
        with launch(spec, each_qemu, run_dir, wrapper_for(spec)) as guest:
            assert guest.execute("query-status")["status"] == "prelaunch"
            assert guest.execute("query-name") == {"name": spec.name}
            assert guest.execute("query-kvm")["enabled"] == (spec.machine.accel is Accel.KVM)
            nodes = {node["node-name"] for node in guest.execute("query-named-block-nodes")}
            assert {f"disk-{disk}" for disk in spec.disk} <= nodes
            guest.quit()


def skip_unless_the_cpu_can_be_had(spec: GuestSpec, binary: str) -> None:
    """A hypervisor below this host may promise a CPU feature that it does not have; QEMU aborts on it."""
    if spec.machine.accel is not Accel.KVM:
        return
    options = ["-nodefaults", "-machine", "q35", "-accel", "kvm", "-display", "none", "-S", "-qmp", "stdio"]
    script = b'{"execute": "qmp_capabilities"}{"execute": "quit"}'
    made = build(spec, HostFacts(binary, kvm=True), LaunchContext(TOKEN, "/run", "/state"))
    cpu = next(str(option.value) for option in made.options if option.flag == "-cpu")
    tried = subprocess.run([binary, *options, "-cpu", cpu], input=script, capture_output=True)
    if tried.returncode:
        pytest.skip(f"KVM cannot give the CPU {cpu} here: {tried.stderr.decode().splitlines()[-1]}")


def skip_unless_huge_pages_are_free(spec: GuestSpec) -> None:
    size = spec.memory.page_size
    if size is None:
        return
    free = Path(f"/sys/kernel/mm/hugepages/hugepages-{size >> 10}kB/free_hugepages")
    if not free.exists() or int(free.read_text()) < spec.memory.size // size:
        pytest.skip(f"this host has not set aside {spec.memory.size // size} pages of {size}")


def copied(case: Path, to: Path) -> Path:
    """The case in a configuration directory of its own, where its images can be made."""
    for part in ("guests", "profiles"):
        if (directory := case.parents[1] / part).exists():
            shutil.copytree(directory, to / part)
    return to / "guests" / case.name


def with_images(spec: GuestSpec, directory: Path, cleanup: ExitStack) -> GuestSpec:
    """Make all files that the guest names; a block device that is not there is replaced by a loop device."""
    if spec.boot.kernel is not None:
        make_kernel(spec.boot.kernel)
    for file in (spec.boot.initrd, *(cdrom.file for cdrom in spec.cdrom.values())):
        if file is not None:
            make_image(file, DiskFormat.RAW)
    if (seed := spec.cloud_init) is not None:
        for file in (seed.password_hash_file, seed.user_data, seed.network_config):
            if file is not None:
                Path(file).parent.mkdir(exist_ok=True)
                Path(file).write_text("$6$salt$0123456789")
    disks = {}
    for key, disk in spec.disk.items():
        disks[key] = disk
        if disk.nbd is not None:
            export = directory / f"{key}.export"
            make_image(str(export), disk.format)
            disks[key] = msgspec.structs.replace(
                disk, nbd=nbd.serve(disk.nbd, export, DiskFormat.RAW, cleanup)
            )
        elif disk.file is not None and disk.file.startswith("/dev/"):
            disks[key] = msgspec.structs.replace(disk, file=loop_device(cleanup))
        elif disk.base is not None:
            make_image(disk.base, disk.base_format)
        elif disk.file is not None and disk.create is None:
            make_image(disk.file, disk.format)
    return msgspec.structs.replace(spec, disk=disks)


def make_image(file: str, format: DiskFormat) -> None:  # noqa: A002 - as everywhere else
    os.makedirs(os.path.dirname(file), exist_ok=True)
    command = ["qemu-img", "create", "-q", "-f", format, file, "1M"]
    subprocess.run(command, check=True)


def make_kernel(file: str) -> None:
    """What QEMU takes for a Linux kernel, by its header alone (Linux: Documentation/arch/x86/boot.rst)."""
    os.makedirs(os.path.dirname(file), exist_ok=True)
    kernel = bytearray(8192)
    kernel[0x1F1] = 1  # setup_sects
    kernel[0x1FE:0x200] = b"\x55\xaa"
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x206:0x208] = b"\x0c\x02"  # protocol 2.12
    kernel[0x211] = 1  # LOADED_HIGH
    kernel[0x22C:0x230] = b"\xff\xff\xff\x37"  # initrd_addr_max
    with open(file, "wb") as out:
        out.write(kernel)


def loop_device(cleanup: ExitStack) -> HostPath:
    fd = os.memfd_create("disk")
    os.truncate(fd, 1 << 20)
    file = f"/proc/{os.getpid()}/fd/{fd}"
    cleanup.callback(os.close, fd)
    try:
        made = subprocess.run(["losetup", "--show", "--find", file], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no block device can be made here: {error}")
    if made.returncode:
        pytest.skip(f"no block device can be made here: {made.stderr.strip()}")
    device = made.stdout.strip()
    cleanup.callback(subprocess.run, ["losetup", "--detach", device], check=True)
    return HostPath(device)


def wrapper_for(spec: GuestSpec) -> list[str]:
    """The command that makes the interfaces a guest names and then becomes QEMU; skips where that cannot be."""
    kinds = {nic.type for nic in spec.nic.values()}
    if kinds <= {NicType.USER, NicType.VHOST_USER}:
        return []
    wrapper = ["unshare", "--net", "--mount", "sh", "-c", IN_OWN_NETWORK, "sh"]
    tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no interfaces can be made here: {tried.stderr.strip()}")
    missing = [nic.helper for nic in spec.nic.values() if nic.helper and not os.path.exists(nic.helper)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    return wrapper


def heartbeat(image: Path, machine: str = "q35", bus: DiskBus = DiskBus.VIRTIO_BLK) -> GuestSpec:
    """The guest that boots from the one of two disks that has something to boot."""
    blank = image.with_name("blank.img")
    make_image(str(blank), DiskFormat.RAW)
    read_only = bus not in (DiskBus.IDE, DiskBus.SATA)
    return GuestSpec(
        name="heartbeat",
        machine=Machine(type=machine, accel=Accel.TCG),
        disk={
            "blank": Disk(file=HostPath(blank), format=DiskFormat.RAW, bus=bus),
            "root": Disk(file=HostPath(image), format=DiskFormat.RAW, bus=bus, read_only=read_only),
        },
        boot=Boot(order=("root",)),
        serial={"console": Serial()},
        panic=Panic(enabled=True),
    )


@pytest.mark.parametrize(
    ("machine", "bus"),
    [
        *[("q35", bus) for bus in DiskBus if bus is not DiskBus.IDE],
        *[("pc", bus) for bus in DiskBus],
    ],
)
def test_the_firmware_boots_what_the_order_names_on_every_bus(
    machine: str, bus: DiskBus, qemu_binary: str, heartbeat_image: Path, tmp_path: Path, run_dir: Path
) -> None:
    image = tmp_path / "heartbeat.img"
    shutil.copy(heartbeat_image, image)
    with launch(heartbeat(image, machine, bus), qemu_binary, run_dir) as guest:
        console = guest.connect(run_dir / "serial-console.sock")
        guest.execute("cont")
        assert console.makefile("rb").readline().startswith(b"heartbeat: keys")
        console.close()
        guest.quit()


@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize("usb", [UsbController.XHCI, UsbController.EHCI, UsbController.UHCI])
def test_the_firmware_boots_from_a_disk_on_every_usb_controller(
    usb: UsbController, machine: str, each_qemu: str, heartbeat_image: Path, tmp_path: Path, run_dir: Path
) -> None:
    image = tmp_path / "heartbeat.img"
    shutil.copy(heartbeat_image, image)
    spec = heartbeat(image, machine, DiskBus.USB)
    spec = msgspec.structs.replace(spec, machine=msgspec.structs.replace(spec.machine, usb=usb))
    with launch(spec, each_qemu, run_dir) as guest:
        console = guest.connect(run_dir / "serial-console.sock")
        guest.execute("cont")
        assert console.makefile("rb").readline().startswith(b"heartbeat: keys")
        console.close()
        guest.quit()


@pytest.mark.parametrize(("key", "told"), [(b"t", True), (b"r", False)], ids=["triple fault", "reset"])
def test_the_log_tells_a_triple_fault_from_a_reset(
    key: bytes, told: bool, qemu_binary: str, heartbeat_image: Path, tmp_path: Path, run_dir: Path
) -> None:
    image = tmp_path / "heartbeat.img"
    shutil.copy(heartbeat_image, image)
    with launch(heartbeat(image), qemu_binary, run_dir) as guest:
        console = guest.connect(run_dir / "serial-console.sock")
        guest.execute("cont")
        console.makefile("rb").readline()
        console.sendall(key)
        guest.event("RESET")
        assert ("Triple fault" in (run_dir / QEMU_LOG).read_text()) == told
        console.close()


def test_qemu_knows_every_enlightenment_by_its_name(each_qemu: str) -> None:
    """TCG takes the names and does nothing with them, but for one: the KVM here may not have what they stand for."""
    keys = {key for key in Hyperv.__struct_fields__ if key not in {"enabled", "spinlocks", "vendor_id"}}
    rich = Hyperv(**{**dict.fromkeys(keys, True), "vpindex": False}, spinlocks=4096, vendor_id="KVM Hv")
    made = build(
        GuestSpec(name="windows", machine=Machine(accel=Accel.KVM), cpu=Cpu(model="qemu64"), hyperv=rich),
        HostFacts(each_qemu, kvm=True),
        LaunchContext(TOKEN, "/run", "/state"),
    )
    cpu = next(str(option.value) for option in made.options if option.flag == "-cpu")
    assert cpu.count("hv-") == len(keys) + 2
    options = ["-nodefaults", "-accel", "tcg", "-display", "none", "-S", "-qmp", "stdio"]
    script = b'{"execute": "qmp_capabilities"}{"execute": "quit"}'
    tried = subprocess.run([each_qemu, *options, "-cpu", cpu], input=script, capture_output=True)
    assert (tried.returncode, tried.stderr) == (0, b"")
