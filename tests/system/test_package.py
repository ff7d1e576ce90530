"""The Debian package and the wheel, installed where a real systemd runs, with a guest that goes on through it all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from qsup import __version__
from tests.conftest import ROOT
from tests.system.box import Box, box

if TYPE_CHECKING:
    from collections.abc import Iterator

HIGHER: Final = f"{__version__}+1"
TREE: Final = ROOT / ".cache/newer-qemu/tree"
GUEST: Final = """
autostart = true
[machine]
accel = "tcg"
[memory]
size = "32 MiB"
[disk.root]
file = "/var/lib/qsup/images/heartbeat.img"
format = "raw"
read-only = true
[boot]
order = ["root"]
[serial.console]
[qemu]
args = ["-device", "isa-debug-exit"]
[stop]
methods = ["acpi"]
repeat = "500 ms"
timeout = "3 s"
"""
ELSEWHERE: Final = (
    *("/var/log", "/var/cache", "/var/tmp"),
    *(f"/var/lib/{name}" for name in ("dpkg", "apt", "systemd", "PackageKit")),
)
"""Where files come and go that are not the package's."""
USERS: Final = {"/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow", "/etc/.pwd.lock"}
PURGED: Final = {
    *("/etc/qsup", "/etc/qsup/guests", "/etc/qsup/guests/heart.toml"),
    *("/var/lib/qsup", "/var/lib/qsup/images", "/var/lib/qsup/images/heartbeat.img"),
}
"""What is there after a purge: the guest's file and disk, and users, whose numbers must not be given to others."""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, heartbeat_image: Path) -> Path:
    """A directory with the package, one of a higher version, and a guest."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no package can be built without dpkg-deb")
    directory = tmp_path_factory.mktemp("packages")
    done = subprocess.run(
        [ROOT / "scripts/build-deb", directory],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.deb")
    _raise_version(built.rename(directory / "qsup.deb"), directory)
    shutil.copy(heartbeat_image, directory / "heartbeat.img")
    (directory / "heart.toml").write_text(GUEST)
    return directory


def _raise_version(package: Path, directory: Path) -> None:
    """The same package with a higher version, as the daemon tells it, too."""
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    for file in (tree / "DEBIAN/control", tree / "usr/lib/qsup/qsup/__init__.py"):
        file.write_text(file.read_text().replace(__version__, HIGHER, 1))
    subprocess.run(["dpkg-deb", "-b", tree, directory / "higher.deb"], check=True, capture_output=True)
    shutil.rmtree(tree)


def _is_debian_12() -> bool:
    try:
        return Path("/etc/debian_version").read_text().startswith("12.")
    except OSError:
        return False


@pytest.fixture(params=["12", "13"])
def debian(request: pytest.FixtureRequest, packages: Path, tmp_path: Path) -> Iterator[Box]:
    """A Debian that has QEMU and knows nothing of qsup yet."""
    words: tuple[str | Path, ...] = ("--bind", f"{packages}:/test")
    if request.param == "13":
        if not (TREE / "usr/lib/systemd/systemd").exists():
            pytest.skip("there is no tree of Debian 13 that boots; scripts/newer-qemu makes one")
        words += ("--tree", TREE)
    elif not _is_debian_12():
        pytest.skip("this host is no Debian 12")
    with box(f"deb{request.param}", tmp_path / "boxes", *words) as made:
        # An image for containers may forbid that services are started, and a host may have run qsup before.
        made.run(
            "rm", "-rf", "/usr/sbin/policy-rc.d", "/etc/qsup", "/var/lib/qsup", "/var/lib/man-db/auto-update"
        )
        yield made


def guest(here: Box) -> dict[str, Any]:
    """The facts of the one guest."""
    (found,) = json.loads(here.run("qsup", "status", "--json", "heart"))
    assert isinstance(found, dict)
    return found


def beats(here: Box) -> list[int]:
    """The guest's heartbeats so far, by their numbers."""
    return [
        int(number) for number in re.findall(r"^beat (\d+)", here.run("qsup", "log", "heart"), re.MULTILINE)
    ]


def files(here: Box) -> set[str]:
    """Every file that a package may have left."""
    pruned = " -o ".join(f"-path {folder}" for folder in ELSEWHERE)
    return set(here.run("sh", "-c", f"find /etc /usr /var \\( {pruned} \\) -prune -o -print").splitlines())


def main_pid(here: Box, unit: str = "qsupd") -> str:
    """The pid of the daemon, or of another unit."""
    return here.run("systemctl", "show", "--value", "-p", "MainPID", unit)


def wait_for_beat(here: Box, above: int) -> None:
    """Wait until the guest's heart has beaten on; what it prints while the daemon is restarted is lost."""
    later = "|".join(str(number) for number in range(above + 1, above + 120))
    here.run(
        *("timeout", "60", "sh", "-c"),
        f"qsup log --follow heart | grep -qE --max-count=1 '^beat ({later})\\b'",
    )


def test_a_guest_goes_on_through_upgrade_removal_and_purge(debian: Box) -> None:
    here = debian
    before = files(here)
    here.run("apt-get", "-qy", "--no-install-recommends", "install", "/test/qsup.deb")
    assert here.run("systemctl", "is-active", "qsupd").strip() == "active"
    here.run("systemctl", "enable", "--now", "qsupd")
    assert here.run("qsup", "list") == "no guests\n"
    assert here.run("id", "-nG", "qsup-qemu").split() == ["qsup-qemu", "kvm"]
    assert here.run("getent", "group", "qsup").startswith("qsup:")
    here.run("test", "-e", "/usr/lib/systemd/user/qsupd.service")
    for file in ("man/man1/qsup.1.gz", "man/man5/qsup-guest.5.gz", "bash-completion/completions/qsup"):
        here.run("test", "-s", f"/usr/share/{file}")

    here.run("cp", "/test/heartbeat.img", "/var/lib/qsup/images")
    here.run("cp", "/test/heart.toml", "/etc/qsup/guests")
    here.run("qsup", "reload")
    here.run("qsup", "start", "--wait", "heart")
    pid = guest(here)["pid"]
    assert here.run("stat", "--format=%U", f"/proc/{pid}").strip() == "qsup-qemu"
    wait_for_beat(here, 0)

    daemon, spawner = main_pid(here), main_pid(here, "qsup-spawn")
    last = beats(here)[-1]
    here.run("dpkg", "--install", "/test/higher.deb")
    assert f"version: {HIGHER}\n" in here.run("qsup", "version")
    assert main_pid(here) != daemon
    assert main_pid(here, "qsup-spawn") == spawner, "the guests' parent stays"
    found = guest(here)
    assert (found["pid"], found["phase"], found["adopted"]) == (pid, "running", True)
    wait_for_beat(here, last)

    daemon = main_pid(here)
    here.run("dpkg-trigger", "--by-package=qsup", "/usr/bin/python3")
    here.run("dpkg", "--triggers-only", "--pending")
    assert main_pid(here) != daemon, "a new Python came"
    assert guest(here)["pid"] == pid

    said = here.run("dpkg", "--remove", "qsup")
    assert (
        f"these guests go on running, without anybody who watches, restarts or stops them:\n  heart (pid {pid})\n"
        in said
    )
    for unit in ("qsupd.service", "qsupd.socket", "qsup-spawn.service", "qsup-spawn.socket"):
        here.fails("systemctl", "is-active", unit)
    here.fails("test", "-e", "/usr/lib/qsup")
    said = here.run("dpkg", "--purge", "qsup")
    assert "guests that still run keep what they need in /var/lib/qsup/guests and /run/qsup: heart\n" in said
    here.run("test", "-e", f"/proc/{pid}")

    here.run("dpkg", "--install", "/test/higher.deb")
    found = guest(here)
    assert (found["pid"], found["phase"], found["adopted"]) == (pid, "running", True)
    counted = beats(here)
    assert counted == sorted(set(counted)), "its heart began anew"
    assert here.run("qsup", "stop", "heart").startswith("heart: stopped")
    assert "+ " not in here.run("ls", "-l", "/var/lib/qsup/images"), "its user's access is taken back"
    said = here.run("dpkg", "--purge", "qsup")
    assert "go on running" not in said
    left = files(here) - before
    assert left - USERS == PURGED
    here.fails("test", "-e", "/run/qsup")
    assert "0 loaded units" in here.run("systemctl", "--failed", "--no-pager")


def test_a_wheel_is_installed_and_taken_away_again(packages: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT],
        check=True,
        capture_output=True,
    )
    binds = ("--bind", f"{wheels}:/wheel", "--bind", f"{ROOT / '.cache/wheels'}:/wheels")
    with box("wheel", tmp_path / "boxes", *binds) as here:
        here.run("rm", "-rf", "/etc/qsup", "/var/lib/qsup")
        here.run(str(Path(sys.executable).resolve()), "-m", "venv", "/opt/qsup")
        here.run(
            *("/opt/qsup/bin/pip", "install", "-q", "--no-index", "--find-links", "/wheels"),
            f"/wheel/qsup-{__version__}-py3-none-any.whl",
        )
        programs = (f"/opt/qsup/bin/{name}" for name in ("qsup", "qsupd", "qsup-spawn"))
        here.run("ln", "-s", *programs, "/usr/local/bin")
        found = partial(here.run, "find", "/usr/local/lib", "/etc/systemd")
        before = found()
        here.run("qsupd", "--install")
        here.run("systemctl", "enable", "--now", "qsupd")
        assert here.run("qsup", "list") == "no guests\n"
        assert here.run("qsup", "check") == "0 guests, 0 problems\n"
        here.run("test", "-e", "/etc/qsup/profiles/linux.toml")
        here.run("test", "-d", "/var/lib/qsup/images")
        here.run("test", "-s", "/opt/qsup/share/man/man8/qsupd.8")
        here.run("systemctl", "disable", "--now", "qsupd")
        here.run("qsupd", "--uninstall")
        assert {*found().splitlines()} - {*before.splitlines()} <= {
            *("/usr/local/lib/sysusers.d", "/usr/local/lib/tmpfiles.d", "/usr/local/lib/systemd"),
            *(f"/usr/local/lib/systemd/{folder}" for folder in ("system", "user", "catalog")),
        }
