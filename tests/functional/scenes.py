"""What ends or disturbs a guest, done to real QEMUs as it happens on a host: the acts of the matrix's scenes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.functional import causes
from tests.functional.harness import ending, killed
from tests.functional.matrix import Act, Guest

OOM_RECORD = "Out of memory: Killed process {pid} (qemu-system-x86) total-vm:1kB, anon-rss:1kB, file-rss:0kB"
"""What the kernel writes as it kills somebody for want of memory."""


def does(letter: str, event: str) -> Act:
    """Have the guest do something of ``causes.S``; by the event QEMU is known to have met it."""

    async def act(guest: Guest) -> None:
        await guest.does(letter, event)

    return act


def types(letter: str) -> Act:
    """Likewise, where QEMU tells of nothing."""

    async def act(guest: Guest) -> None:
        await guest.types(letter)

    return act


def sent(number: int) -> Act:
    """Send QEMU a signal that ends it."""

    async def act(guest: Guest) -> None:
        await killed(guest.pid, number)

    return act


# What an operator or the guest does


async def stop(guest: Guest) -> None:
    """An operator's stop."""
    await guest.site.run("guest-stop", name=guest.name, wait=False)
    await guest.site.phase(guest.name, "stopping", "stopped")


async def reset(guest: Guest) -> None:
    """A reset that the daemon sees, and the boot after it."""
    before = guest.site.printed(guest.name).count(".")
    await guest.types("r")
    await guest.site.prints(guest.name, ".", before + 1)


async def resets(guest: Guest) -> None:
    """Two resets, so far apart that they do not count as one."""
    await reset(guest)
    await asyncio.sleep(1.0)
    await guest.types("r")


async def exits(guest: Guest) -> None:
    """Have the guest end QEMU through isa-debug-exit, which does so without a word."""
    async with ending(guest.pid):
        await guest.types("e")


# What becomes of QEMU


async def asserts(guest: Guest) -> None:
    """Make QEMU fail an assertion: there is a type of object that it cannot show."""
    async with ending(guest.pid):
        with contextlib.suppress(Exception):
            await guest.qmp("qom-list-properties", typename="colo-compare")


async def is_stopped(guest: Guest) -> None:
    assert guest.pid
    os.kill(guest.pid, signal.SIGSTOP)


async def main_loop_blocks(guest: Guest) -> None:
    """Have the main loop open a FIFO that nobody reads, for ever."""
    fifo = guest.image.with_suffix(".fifo")
    os.mkfifo(fifo)
    backend = {"type": "file", "data": {"out": str(fifo)}}
    blocked = asyncio.ensure_future(guest.qmp("chardev-add", id="stuck", backend=backend))
    done, _ = await asyncio.wait({blocked}, timeout=0.5)
    assert not done
    blocked.cancel()
    await asyncio.gather(blocked, return_exceptions=True)


async def loses_its_monitor(guest: Guest) -> None:
    """Take the socket away; have the daemon, if it is there, hang up at an answer that is too long as well."""
    (guest.run_dir / "qmp.sock").unlink()
    if guest.there:
        with contextlib.suppress(Exception):
            await guest.qmp("human-monitor-command", command_line="xp /300000xb 0")


async def host_was_restarted(guest: Guest) -> None:
    """What a reboot leaves: no process, and the record of another boot."""
    await killed(guest.pid)
    record = guest.site.state / "guests" / guest.name / "state.json"
    document = json.loads(record.read_text())
    document["boot_id"] = "00000000-0000-0000-0000-000000000000"
    record.write_text(json.dumps(document))


async def tpm_dies(guest: Guest) -> None:
    """Kill the guest's swtpm."""
    await killed(guest.helpers["tpm"])


def no_tpm() -> str | None:
    """Why there can be no TPM."""
    return None if shutil.which("swtpm") else "swtpm is not installed"


# Its health


def listens(guest: Guest) -> None:
    """Have somebody listen on the port that its file names."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    guest.port = listener.getsockname()[1]
    guest.at_end.callback(listener.close)
    guest.listener = listener


async def stops_listening(guest: Guest) -> None:
    """Nobody listens there any more."""
    assert guest.listener is not None
    guest.listener.close()


# Memory


async def host_has_no_memory(guest: Guest) -> None:
    """A kill, and what the kernel writes of one."""
    Path("/dev/kmsg").write_text(f"<6>{OOM_RECORD.format(pid=guest.pid)}\n")
    await killed(guest.pid)


def no_kernel_log() -> str | None:
    """Why nothing can be written as if the kernel had."""
    return None if os.access("/dev/kmsg", os.W_OK | os.R_OK) else "the kernel's log cannot be written here"


def memory_cgroup() -> tuple[Path, str] | None:
    """A directory in which memory cgroups can be made, and the name of their limit."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        made = Path(root, f"qsup-test-{os.getpid()}")
        try:
            made.mkdir()
        except OSError:
            continue
        there = (made / limit).exists()
        made.rmdir()
        if there:
            return Path(root), limit
    return None


def no_memory_cgroup() -> str | None:
    """Why no process can be given too little memory."""
    return None if memory_cgroup() else "there is no memory cgroup to be made here"


async def cgroup_has_no_memory(guest: Guest) -> None:
    """Put QEMU into a cgroup without room, and have it take memory: what it took before is not counted there."""
    root, limit = memory_cgroup() or (Path(), "")
    cgroup = root / f"qsup-test-{guest.pid}"
    cgroup.mkdir()
    guest.at_end.callback(cgroup.rmdir)
    (cgroup / "cgroup.procs").write_text(str(guest.pid))
    (cgroup / limit).write_text(str(1 << 20))
    async with ending(guest.pid):
        with contextlib.suppress(Exception):
            await guest.qmp(
                "object-add", qom_type="memory-backend-ram", id="more", size=64 << 20, prealloc=True
            )


# Disks


async def disk_fails(guest: Guest) -> None:
    """Every write to the image fails, as on a disk that is worn out; then the guest writes."""
    words = Path(f"/proc/{guest.pid}/cmdline").read_text().split("\0")
    nodes: list[dict[str, Any]] = [
        json.loads(value) for flag, value in pairwise(words) if flag == "-blockdev"
    ]
    options = next(node for node in nodes if node["node-name"] == "disk-root")
    fails = {"event": "none", "iotype": "write", "errno": errno.EIO}
    await guest.qmp(
        "blockdev-add", driver="blkdebug", node_name="worn-out", image=options["file"], inject_error=[fails]
    )
    await guest.qmp("blockdev-reopen", options=[{**options, "file": "worn-out"}])
    await guest.does("d", "STOP")


def on_small_disk(guest: Guest) -> None:
    """Put the image onto a file system of its own, of 2 MiB."""
    place = guest.image.with_suffix(".d")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "qsup-test", place], check=True)
    guest.at_end.callback(lambda: subprocess.run(["umount", "--lazy", place], check=True))
    guest.image = causes.build(place / "causes.img")


def no_mount() -> str | None:
    """Why no file system can be mounted."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "qsup-test", "/mnt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no file system can be mounted here: {done.stderr.strip()}" if done.returncode else None


async def host_disk_fills(guest: Guest) -> None:
    """Leave no room on that file system; then the guest writes."""
    with (guest.image.parent / "filler").open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(4 << 20))
    await guest.does("d", "STOP")


def damaged(guest: Guest) -> None:
    """Make of the image one whose own tables will be written over."""
    guest.image = causes.damaged(guest.image)
