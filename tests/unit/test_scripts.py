"""The scripts that prepare a checkout: what they install, in whose name, and what they put into an initramfs."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.initramfs import Archive, Modules

ROOT = Path(__file__).parents[2]
SHELL_SCRIPTS = ["scripts/setup", "scripts/build-heartbeat", ".ci/run", "qsup/cli/shells/qsup.bash"]

COMMANDS = {
    "apt-get": "-qy install --no-install-recommends binutils qemu-system-x86 qemu-utils",
    "dnf": "-y install --setopt=install_weak_deps=False binutils qemu-img qemu-system-x86-core",
    "zypper": "--non-interactive install --no-recommends binutils qemu-tools qemu-x86",
    "pacman": "-S --noconfirm --needed binutils qemu-img qemu-system-x86",
}


class Host:
    """A checkout on a pretended host: a PATH of its own, where programs are stubs that write down their calls."""

    def __init__(self, directory: Path) -> None:
        self.bin, self.checkout, self._calls = directory / "bin", directory / "checkout", directory / "calls"
        (self.checkout / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        self._calls.touch()
        shutil.copy(ROOT / "scripts/setup", self.checkout / "scripts")
        for tool in ("bash", "chmod", "dirname", "env", "sort", "touch", "id"):
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        self.stub("python3", "exit 0")
        self._make_venv()

    def _make_venv(self) -> None:
        """An environment that is newer than pyproject.toml, so that setup has no reason to make one."""
        (self.checkout / "pyproject.toml").touch()
        os.utime(self.checkout / "pyproject.toml", (0, 0))
        (self.checkout / ".venv/bin").mkdir(parents=True)
        (self.checkout / ".venv/.made").touch()
        (self.checkout / ".venv/bin/python").symlink_to(self.bin / "python3")

    def stub(self, name: str, body: str = "") -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/bash\n[ {name} = python3 ] || echo "{name} $*" >>"{self._calls}"\n{body}\n')
        path.chmod(0o755)

    def installing(self, *programs: str) -> str:
        """What a package manager's stub does to make these programs appear."""
        return "\n".join(
            f'printf "#!/bin/bash\\n" >"{self.bin / name}"; chmod +x "{self.bin / name}"' for name in programs
        )

    def setup(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "scripts/setup"],
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


PROGRAMS = ("qemu-system-x86_64", "qemu-img", "as", "ld")


def test_setup_does_nothing_and_says_nothing_when_all_is_there(host: Host) -> None:
    for name in PROGRAMS:
        host.stub(name)
    host.stub("apt-get")
    done = host.setup()
    assert (done.returncode, done.stdout, done.stderr, host.calls()) == (0, "", "", [])


@pytest.mark.parametrize("manager", COMMANDS)
def test_setup_says_what_it_installs_and_installs_that(host: Host, manager: str) -> None:
    host.stub("id", "echo 0")
    host.stub(manager, host.installing(*PROGRAMS))
    done = host.setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"installing with {manager}: binutils" in done.stdout
    assert host.calls()[-1] == f"{manager} {COMMANDS[manager]}"


def test_setup_asks_for_root_through_sudo(host: Host) -> None:
    host.stub("id", "echo 1000")
    host.stub("dnf", host.installing(*PROGRAMS))
    host.stub("sudo", '"$@"')
    assert host.setup().returncode == 0
    assert f"sudo dnf {COMMANDS['dnf']}" in host.calls()


def test_setup_without_root_and_sudo_tells_the_command_to_run(host: Host) -> None:
    host.stub("id", "echo 1000")
    host.stub("dnf")
    done = host.setup()
    assert done.returncode == 1
    assert f"as root: dnf {COMMANDS['dnf']}" in done.stderr


def test_setup_without_a_package_manager_names_what_is_missing(host: Host) -> None:
    host.stub("qemu-img")
    done = host.setup()
    assert done.returncode == 1
    assert "please install: qemu-system-x86_64 as ld" in done.stderr


def test_setup_notices_when_the_installation_did_not_bring_what_was_missing(host: Host) -> None:
    host.stub("id", "echo 0")
    host.stub("pacman", host.installing("qemu-img", "as", "ld"))
    done = host.setup()
    assert done.returncode == 1
    assert "still missing after the installation: qemu-system-x86_64" in done.stderr


def test_setup_refuses_an_old_python_and_says_how_to_name_another(host: Host) -> None:
    host.stub("python3", 'case $1 in -V) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    done = host.setup()
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, and python3 is Python 3.9.2" in done.stderr
    assert "PYTHON=" in done.stderr


def test_shellcheck_finds_no_fault_with_the_shell_scripts() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", *SHELL_SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_heartbeat_is_not_built_again_without_a_reason(heartbeat_image: Path) -> None:
    before = heartbeat_image.stat()
    subprocess.run([ROOT / "scripts/build-heartbeat", heartbeat_image], check=True, capture_output=True)
    assert heartbeat_image.stat().st_ino == before.st_ino


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """A cpio archive read back: mode and content by name."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[start : start + size])
        at = (start + size + 3) & ~3


def test_an_archive_brings_the_directories_of_its_files() -> None:
    archive = Archive()
    archive.file("/usr/sbin/agent", b"12345", 0o755)
    archive.file("/usr/lib/x", b"")
    archive.device("/dev/console", 5, 1)
    found = entries(archive.finish())
    assert list(found) == ["usr", "usr/sbin", "usr/sbin/agent", "usr/lib", "usr/lib/x", "dev", "dev/console"]
    assert found["usr/sbin/agent"] == (0o100755, b"12345")
    assert found["usr/lib"] == (0o040755, b"")
    assert found["dev/console"] == (0o020600, b"")


def test_modules_come_after_what_they_depend_on_and_builtin_ones_not_at_all(tmp_path: Path) -> None:
    def module(depends: str) -> bytes:
        return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"

    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers/virtio-rng.ko.xz").write_bytes(lzma.compress(module("virtio,rng-core")))
    (tmp_path / "drivers/virtio.ko").write_bytes(module("virtio_ring"))
    (tmp_path / "drivers/virtio_ring.ko").write_bytes(module(""))
    (tmp_path / "modules.builtin").write_text("kernel/drivers/char/rng-core.ko\n")
    loaded, absent = Modules(tmp_path).closure(["virtio_rng", "virtio", "button"])
    assert list(loaded) == ["virtio_ring", "virtio", "virtio_rng"]
    assert loaded["virtio_rng"] == module("virtio,rng-core")
    assert absent == ["button"]
