"""What is wrong with a file, a host or a QEMU is said clearly; nobody else notices, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes import fake_qemu
from tests.functional.harness import DEADLINE, IDLE, Site, alive, site

NO_RESTART = '[restart]\npolicy = "never"\n'
FAKE = IDLE + NO_RESTART + '[qemu]\nbinary = "{binary}"\nstart-timeout = "{timeout}"\n'


@pytest.fixture
async def here(empty: Site) -> AsyncIterator[Site]:
    """A site with the running guest ``bystander``, which must not notice anything."""
    empty.guest("bystander", IDLE)
    await empty.start()
    await empty.run("guest-start", name="bystander")
    before = await empty.view("bystander")
    yield empty
    after = await empty.view("bystander")
    same = ("pid", "phase", "since", "restarts", "failures", "trouble")
    assert [after[key] for key in same] == [before[key] for key in same]
    assert alive(before["pid"])
    assert "Traceback" not in empty.log


async def refused(here: Site, text: str) -> tuple[str, str]:
    """Declare the guest ``bad`` and start it: what the command says, and what ``why`` says."""
    here.guest("bad", text)
    await here.run("reload-config")
    status, out, err = await here.cli("start", "bad")
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    return err, (await here.cli("why", "bad"))[1]


# Files


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("[memory\n", 1, "not TOML"),
        ('[memory]\nsize = "1 GiB\n', 2, ""),
        ("[cpu]\ncount = 'two'\n", 2, "cpu.count"),
        ('[memory]\nsize = "a lot"\n', 2, "memory.size"),
        ("[cpu]\ncount = 0\n", 2, "cpu.count"),
        ('[disk.root]\nfile = "x"\nbus = "virtoi-blk"\n', 3, 'did you mean "virtio-blk"?'),
        ("autostrat = true\n", 1, 'did you mean "autostart"?'),
        ("[disk.root]\nread-only = true\n", 1, "file"),
        ('after = ["nobody"]\n', 1, "nobody"),
        ("\N{NULL}", 1, ""),
    ],
)
async def test_a_file_that_cannot_be_used_is_told_with_its_place(
    text: str, line: int, told: str, here: Site
) -> None:
    place = f"guests/bad.toml:{line}: "
    here.guest("bad", text)
    problems = (await here.run("reload-config"))["problems"]
    assert any(place in problem and told in problem for problem in problems), problems
    for words in (("start", "bad"), ("status", "bad")):
        status, _, err = await here.cli(*words)
        assert status == 3
        assert place in err
    status, out, err = await here.cli("check", "--config", str(here.config))
    assert (status, err) == (1, "")
    assert place in out
    here.guest("bad", IDLE)
    # The change may have been noticed, and read, before the command.
    await here.run("reload-config")
    assert (await here.view("bad"))["problems"] == []


async def test_all_problems_of_all_files_come_at_once(here: Site) -> None:
    here.guest("bad", "[cpu]\ncount = 0\nmodle = 1\n")
    here.guest("worse", "[memory]\nsize = 7\n[nic.lan]\ntype = 'moon'\n")
    problems = (await here.run("reload-config"))["problems"]
    places = {problem.partition(": ")[0] for problem in problems}
    assert places == {"guests/bad.toml:2", "guests/bad.toml:3", "guests/worse.toml:2", "guests/worse.toml:4"}


async def test_a_file_that_is_no_text_or_cannot_be_read_costs_only_its_guest(here: Site) -> None:
    guests = here.config / "guests"
    (guests / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (guests / "directory.toml").mkdir()
    (guests / "nowhere.toml").symlink_to("/nonexistent/file")
    (guests / "bad name!.toml").write_text(IDLE)
    problems = (await here.run("reload-config"))["problems"]
    for name in ("binary", "directory", "nowhere", "bad name!"):
        assert any(f"{name}.toml" in problem for problem in problems), (name, problems)
    assert [guest["name"] for guest in await here.run("query-guests")] == ["bystander"]


# The host


async def test_a_missing_image_is_named(here: Site, tmp_path: Path) -> None:
    image = tmp_path / "missing.img"
    err, why = await refused(here, f'{IDLE}[disk.root]\nfile = "{image}"\n{NO_RESTART}')
    told = f"disk.root.file: {image} does not exist"
    assert told in err
    assert told in why or told.capitalize() in why
    (tmp_path / "missing.img").write_bytes(b"\0" * 65536)
    here.guest("bad", f'{IDLE}[disk.root]\nfile = "{image}"\nformat = "raw"\n{NO_RESTART}')
    await here.run("reload-config")
    assert (await here.cli("start", "bad"))[0] == 0


@pytest.mark.parametrize(
    ("content", "format_", "told"),
    [(b"\0" * 65536, "qcow2", "is no qcow2 image"), (b"QFI\xfb" + b"\0" * 65532, "raw", "is a qcow2 image")],
)
async def test_an_image_of_another_format_is_not_opened(
    content: bytes, format_: str, told: str, here: Site, tmp_path: Path
) -> None:
    (tmp_path / "disk.img").write_bytes(content)
    disk = f'[disk.root]\nfile = "{tmp_path / "disk.img"}"\nformat = "{format_}"\n'
    err, _ = await refused(here, IDLE + disk + NO_RESTART)
    assert f"{tmp_path / 'disk.img'} {told}" in err
    assert (tmp_path / "disk.img").read_bytes() == content


def qcow2(image: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)


async def test_an_image_that_only_qemu_finds_broken_is_told_in_its_words(here: Site, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    qcow2(image)
    with image.open("r+b") as file:
        # l1_table_offset, which has to be a multiple of the cluster size (docs/interop/qcow2.txt).
        file.seek(40)
        file.write((0x1234567).to_bytes(8, "big"))
    err, why = await refused(here, f'{IDLE}[disk.root]\nfile = "{image}"\n{NO_RESTART}')
    assert "L1 table offset invalid" in err
    assert "L1 table offset invalid" in why


async def test_a_missing_qemu_is_told_with_what_to_install(here: Site, tmp_path: Path) -> None:
    err, _ = await refused(here, IDLE + NO_RESTART + '[qemu]\nbinary = "/nonexistent/qemu"\n')
    assert "/nonexistent/qemu does not exist; install QEMU" in err
    (tmp_path / "noqemu").write_text("not a program")
    err, _ = await refused(here, IDLE + NO_RESTART + f'[qemu]\nbinary = "{tmp_path / "noqemu"}"\n')
    assert f"{tmp_path / 'noqemu'} is not an executable file" in err
    (tmp_path / "noqemu").chmod(0o755)
    err, _ = await refused(here, IDLE + NO_RESTART + f'[qemu]\nbinary = "{tmp_path / "noqemu"}"\n')
    assert f"cannot execute {tmp_path / 'noqemu'}: Exec format error" in err


async def test_a_taken_port_is_named(here: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        nic = f'[nic.lan]\nforward = ["tcp:127.0.0.1:{port}:22"]\n'
        err, _ = await refused(here, IDLE + nic + NO_RESTART)
        assert f"nic.lan.forward[0]: tcp port {port} on 127.0.0.1: Address already in use" in err
    assert (await here.cli("start", "bad"))[0] == 0


async def test_two_guests_on_one_image_are_refused_before_either_writes(here: Site, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"\0" * 65536)
    text = f'{IDLE}[disk.root]\nfile = "{tmp_path / "disk.img"}"\nformat = "raw"\n'
    here.guest("one", text)
    await here.run("reload-config")
    await here.run("guest-start", name="one")
    pid = (await here.view("one"))["pid"]
    here.guest("two", text)
    problems = (await here.run("reload-config"))["problems"]
    assert any(
        "guests/two.toml:9: disk.root.file: " in problem and "guest one" in problem for problem in problems
    ), problems
    assert (await here.view("one"))["pid"] == pid
    assert (await here.cli("start", "two"))[0] == 3


# A QEMU that misbehaves


@pytest.mark.parametrize(
    ("modes", "cause", "told"),
    [
        ("silent", "start-timeout", "did not greet"),
        ("mute", "start-timeout", ""),
        ("exit=3", "start-failed", "fake qemu: exiting with status 3, as told"),
        ("exit-greeted=4", "start-failed", "exit 4"),
        ("flood-stderr", "start-failed", "fake qemu: something is wrong"),
    ],
)
async def test_a_qemu_that_does_not_come_up_is_ended_and_told(
    modes: str, cause: str, told: str, here: Site, tmp_path: Path
) -> None:
    binary = fake_qemu.install(tmp_path, modes)
    err, why = await refused(here, FAKE.format(binary=binary, timeout="500 ms"))
    assert cause in why.lower()
    assert told in err + why + (await here.cli("log", "--stderr", "bad"))[1]
    view = await here.view("bad")
    assert (view["phase"], view["pid"], view["cause"]) == ("stopped", None, cause)
    written = sum(file.stat().st_size for file in here.runtime.rglob("stderr.log"))
    assert written < 64 << 20, "what it writes is bounded"
    fake_qemu.set_modes(binary, "")
    assert (await here.cli("start", "bad"))[0] == 0, "nothing is left in the way"


async def test_a_qemu_that_sends_garbage_is_not_listened_to_and_can_be_stopped(
    here: Site, tmp_path: Path
) -> None:
    here.guest("bad", FAKE.format(binary=fake_qemu.install(tmp_path, "garbage"), timeout="2 s"))
    await here.run("reload-config")
    await here.run("guest-start", name="bad", wait=False)
    # Whether the handshake is done before the garbage is read decides which of the two it is.
    await here.phase("bad", "unreachable", "stopped", "backoff", "gave-up")
    await here.said("it sent something that is not JSON")
    assert (await here.cli("stop", "bad"))[0] == 0
    view = await here.view("bad")
    assert (view["phase"], view["pid"]) == ("stopped", None)


async def test_a_qemu_that_floods_events_slows_nobody_else(here: Site, tmp_path: Path) -> None:
    binary = fake_qemu.install(tmp_path, "flood-events")
    here.guest("bad", FAKE.format(binary=binary, timeout="2 s"))
    await here.run("reload-config")
    await here.run("guest-start", name="bad", wait=False)
    await here.until("bad", lambda view: view["run-state"] is not None)
    assert (await here.run("guest-qmp", name="bystander", command="query-status"))["status"] == "running"
    assert (await here.cli("kill", "bad"))[0] == 0
    assert (await here.view("bad"))["phase"] == "stopped"


async def test_a_qemu_that_ignores_all_but_sigkill_ends_by_sigkill(here: Site, tmp_path: Path) -> None:
    binary = fake_qemu.install(tmp_path, "ignore-sigterm ignore-quit")
    here.guest("bad", FAKE.format(binary=binary, timeout="5 s"))
    await here.run("reload-config")
    assert (await here.cli("start", "bad"))[0] == 0
    pid = (await here.view("bad"))["pid"]
    status, out, _ = await here.cli("stop", "bad")
    assert (status, out.strip().startswith("bad: stopped by SIGKILL")) == (0, True), out
    assert not alive(pid)


# The daemon's own directories


@pytest.fixture
def full_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of 64 KiB, full to the last byte; skips where nothing may be mounted."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)]
    done = subprocess.run(mount, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a full disk needs the right to mount: {done.stderr.strip()}")
    try:
        with pytest.raises(OSError, match="No space"):
            (state / "ballast").write_bytes(b"\0" * 65537)
        yield state
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


async def test_a_full_state_directory_keeps_no_guest_from_running(full_state: Path, empty: Site) -> None:
    empty.guest("idle", IDLE + "[serial.console]\n" + '[restart]\ndelay = "0 s"\n')
    await empty.start()
    assert (await empty.cli("start", "idle"))[0] == 0
    notice = await empty.said("its state cannot be written")
    assert "No space left on device" in notice
    (full_state / "ballast").unlink()
    path = full_state / "guests/idle/state.json"
    async with asyncio.timeout(DEADLINE):
        while not path.exists():
            await asyncio.sleep(0.05)
    record = json.loads(path.read_text())
    assert record["state"]["wanted"] == "running"
    pid = (await empty.view("idle"))["pid"]
    await empty.kill()
    await empty.start()
    view = await empty.phase("idle", "running")
    assert (view["pid"], view["adopted"]) == (pid, True)
    assert "Traceback" not in empty.log


async def test_a_daemon_without_a_configuration_says_so_and_waits_for_one(empty: Site) -> None:
    shutil.rmtree(empty.config)
    await empty.start()
    assert str(empty.config) in empty.log
    assert await empty.cli("list") == (0, "no guests\n", "")
    (empty.config / "guests").mkdir(parents=True)
    (empty.config / "qsup.toml").write_text("")
    empty.guest("late", IDLE)
    assert await empty.cli("reload") == (0, "added: late\n", "")
    assert "Traceback" not in empty.log


async def test_a_daemon_whose_directories_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qsup.daemon",
        *("--config", str(tmp_path), "--state-dir", str(tmp_path / "state")),
        *("--runtime-dir", str(tmp_path / "file/below")),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await daemon.communicate()
    assert daemon.returncode == 1
    assert f"cannot use {tmp_path / 'file/below'}: Not a directory" in err.decode()


async def test_a_runtime_directory_that_is_too_deep_for_sockets_is_refused_at_once(tmp_path: Path) -> None:
    async with site(tmp_path / ("deep" * 25)) as here:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "qsup.daemon", "--config", str(here.config),
            *("--runtime-dir", str(here.runtime), "--state-dir", str(here.state)),
            env={**os.environ}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await daemon.communicate()
    assert daemon.returncode == 1
    assert "is too long for a socket" in err.decode()
    assert "Traceback" not in err.decode()
