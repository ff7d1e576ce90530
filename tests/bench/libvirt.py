"""A libvirtd of our own, in a mount namespace where its directories are empty ones: the host's is not touched."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DIRECTORIES = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
DAEMON_CONFIG = 'unix_sock_dir = "{}"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'
QEMU_CONFIG = """
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
"""
DOMAIN = """<domain type='qemu'><name>bench{}</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>{}</emulator><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""
PATIENCE = 15.0
"""Seconds for libvirtd to answer."""


@contextlib.contextmanager
def libvirt(binary: str, count: int) -> Iterator[list[str] | None]:
    """A libvirtd that runs ``count`` paused domains: how to call its virsh; None where there can be none."""
    programs = [shutil.which(name) for name in ("virsh", "libvirtd", "unshare")]
    if None in programs or os.geteuid() != 0:
        yield None
        return
    # Not the measurement's own directory: its path may be too long for a socket's.
    with tempfile.TemporaryDirectory(prefix="libvirt") as made, _daemon(Path(made)):
        virsh = ["virsh", "-c", f"qemu+unix:///system?socket={made}/libvirt-sock"]
        try:
            yield virsh if _answers(virsh) and _domains(virsh, binary, count, Path(made)) else None
        finally:
            for number in range(count):
                _run(*virsh, "destroy", f"bench{number}")


@contextlib.contextmanager
def _daemon(home: Path) -> Iterator[None]:
    (home / "qemu.conf").write_text(QEMU_CONFIG)
    (home / "libvirtd.conf").write_text(DAEMON_CONFIG.format(home))
    mounts = [f"mkdir -p {path} && mount -t tmpfs tmpfs {path}" for path in DIRECTORIES]
    words = [*mounts, f"cp {shlex.quote(str(home))}/qemu.conf /etc/libvirt/", 'exec libvirtd -f "$0"']
    daemon = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", " && ".join(words), str(home / "libvirtd.conf")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _answers(virsh: list[str]) -> bool:
    until = time.monotonic() + PATIENCE
    while not _run(*virsh, "version"):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _domains(virsh: list[str], binary: str, count: int, home: Path) -> bool:
    for number in range(count):
        file = home / f"bench{number}.xml"
        file.write_text(DOMAIN.format(number, binary))
        if not _run(*virsh, "create", "--paused", str(file)):
            return False
    return True


def _run(*words: str) -> bool:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
