"""What every layer of the tests shares: the QEMU that is there, KVM where it works, and the guests to run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "configs/images"
KVM_GET_API_VERSION = 0xAE00


def pytest_configure() -> None:
    """Whoever runs the tests in the background may have SIGINT ignored, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def kvm_problem() -> str | None:
    """Why KVM cannot be used here; None if it can."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return str(error)
    try:
        version = fcntl.ioctl(fd, KVM_GET_API_VERSION)
    except OSError as error:
        return f"/dev/kvm does not answer: {error}"
    finally:
        os.close(fd)
    return None if version == 12 else f"/dev/kvm speaks version {version}, not 12"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs KVM where there is none; ``-ra`` prints the reason at the end of the run."""
    problem = kvm_problem()
    if problem is None:
        return
    for item in items:
        if item.get_closest_marker("kvm"):
            item.add_marker(pytest.mark.skip(reason=f"KVM does not work here: {problem}"))


@pytest.fixture(scope="session")
def qemu_binary() -> str:
    """The path of ``qemu-system-x86_64``."""
    found = shutil.which("qemu-system-x86_64")
    if found is None:
        pytest.skip("qemu-system-x86_64 is not installed; scripts/setup installs it")
    return found


@pytest.fixture(scope="session")
def newer_qemu_binary() -> str:
    """Another, newer QEMU than this host's: what ``scripts/newer-qemu`` has made, or ``QSUP_TEST_NEWER_QEMU`` names."""
    named = os.environ.get("QSUP_TEST_NEWER_QEMU")
    binary = Path(named) if named else ROOT / ".cache/newer-qemu/qemu-system-x86_64"
    if not binary.exists():
        pytest.skip("there is no newer QEMU; scripts/newer-qemu makes one, QSUP_TEST_NEWER_QEMU names one")
    return str(binary)


@pytest.fixture(params=["this", "newer"])
def each_qemu(request: pytest.FixtureRequest) -> str:
    """One test with this host's QEMU, and once more with a newer one."""
    name = "qemu_binary" if request.param == "this" else "newer_qemu_binary"
    return str(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def heartbeat_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heartbeat guest, assembled from this checkout once a session. Not to be written to."""
    image = tmp_path_factory.mktemp("images") / "heartbeat.img"
    subprocess.run([ROOT / "scripts/build-heartbeat", image], check=True, stdin=subprocess.DEVNULL)
    return image


@pytest.fixture(scope="session")
def linux_guest() -> tuple[Path, Path]:
    """Kernel and initramfs of the Linux sample guest; skips, with the reason, where they cannot be built."""
    build_linux_guest("linux")
    return IMAGES / "linux.vmlinuz", IMAGES / "linux.initrd"


def build_linux_guest(variant: str) -> None:
    """Build a variant of the Linux sample guest; skip, with the reason, where that cannot be."""
    done = subprocess.run(
        [ROOT / "scripts/build-linux-guest", variant],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
