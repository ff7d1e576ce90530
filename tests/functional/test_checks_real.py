"""The checks against real guests: the agent and a web server in Linux, QEMU's user network, a console that beats."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qsup import endpoint
from qsup.checks import http, tcp
from qsup.checks.agent import Exec, ping
from qsup.checks.console import beats, printed
from qsup.checks.verdict import Failed, Passed, Unable, Verdict
from qsup.proc.console import Console
from qsup.proc.rotated import RotatedLog
from qsup.qmp.agent import Agent
from qsup.qmp.session import QmpEvent, QmpSession
from tests.functional.peers import free_port

DEADLINE = 60.0
"""Seconds that only a failure takes: a loaded machine under TCG is slow."""
SOCKETS = ("qmp", "serial", "agent")


class Real:
    """A QEMU whose sockets are made as the supervisor makes them; it stands still until told to go on."""

    def __init__(self, directory: Path, binary: str, *options: str) -> None:
        self.directory = directory
        with contextlib.ExitStack() as ours:
            listeners = {
                name: ours.enter_context(endpoint.listen(directory, f"{name}.sock")) for name in SOCKETS
            }
            command = [binary, "-nodefaults", "-no-user-config", "-display", "none", "-S", "-accel", "tcg"]
            command += ["-action", "shutdown=pause"]
            for name, listener in listeners.items():
                chardev = f"socket,id={name},fd={listener.fileno()},server=on,wait=off"
                command += ["-chardev", chardev]
            command += ["-mon", "chardev=qmp,mode=control", "-serial", "chardev:serial", *options]
            fds = [listener.fileno() for listener in listeners.values()]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)
        self.console = Console("web1/console", RotatedLog(directory / "log", 1 << 20))
        self.agent = Agent(directory, "agent.sock")
        self.qmp: QmpSession
        self.shut_down = asyncio.Event()

    async def connect(self) -> None:
        sock = await endpoint.connect(self.directory, "qmp.sock")
        self.qmp = await QmpSession.connect(
            sock, on_event=self._event, on_lost=lambda _: None, deadline=DEADLINE
        )
        await self.console.connect(self.directory, "serial.sock")

    def _event(self, event: QmpEvent) -> None:
        if event.name == "SHUTDOWN":
            self.shut_down.set()

    async def prints(self, text: str) -> None:
        async with asyncio.timeout(DEADLINE):
            await printed(self.console, text)

    async def shell(self, command: str, says: str) -> None:
        """Run a command in the guest's shell, and wait until it has said something."""
        await self.console.write(f"{command}\n".encode())
        await self.prints(says)

    async def monitor(self, command: str) -> str:
        return str(await self.qmp.execute("human-monitor-command", {"command-line": command}))

    async def close(self) -> None:
        with contextlib.suppress(AttributeError):
            await self.qmp.close()
        await self.console.close()


@contextlib.asynccontextmanager
async def running(directory: Path, binary: str, *options: str) -> AsyncIterator[Real]:
    made = Real(directory, binary, *options)
    with made.process:
        try:
            await made.connect()
            yield made
            await made.close()
        finally:
            made.process.kill()


# The agent in a Linux guest


@pytest.fixture
async def linux(tmp_path: Path, qemu_binary: str, linux_guest: tuple[Path, Path]) -> AsyncIterator[Real]:
    """The Linux guest, past its boot, with its agent."""
    kernel, initrd = linux_guest
    if b"usr/sbin/qemu-ga" not in initrd.read_bytes():
        pytest.skip("no guest agent could be put into the Linux guest on this host")
    port = "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"
    async with running(
        tmp_path, qemu_binary,
        *("-machine", "q35", "-m", "256", "-device", "virtio-serial-pci", "-device", port),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"),
    ) as made:  # fmt: skip
        await made.qmp.execute("cont")
        await made.prints("linux: up")
        yield made


async def executed(guest: Real, *command: str, deadline: float = DEADLINE) -> Verdict:
    return await Exec(guest.agent, command).run(deadline)


@pytest.mark.linux_guest
async def test_the_agent_of_a_real_guest_is_asked(linux: Real) -> None:
    assert await ping(linux.agent, DEADLINE) == Passed("the guest agent answers")
    assert await executed(linux, "/bin/sh", "-c", "exit 0") == Passed("/bin/sh exited with 0")
    assert await executed(linux, "/bin/sh", "-c", "exit 3") == Failed("/bin/sh exited with 3")
    assert await executed(linux, "/bin/sh", "-c", "kill -9 $$") == Failed("/bin/sh was killed by signal 9")
    absent = await executed(linux, "/bin/absent")
    assert isinstance(absent, Unable), absent
    assert "No such file" in absent.why


@pytest.mark.linux_guest
async def test_a_program_that_hangs_in_a_real_guest_is_started_once(linux: Real) -> None:
    check = Exec(linux.agent, ["/bin/sh", "-c", "echo $$ >/pid; exec /bin/busybox sleep 10000"])
    assert await check.run(1) == Failed("/bin/sh takes longer than 1 s")
    assert await check.run(DEADLINE) == Failed("/bin/sh still runs, since an earlier check")
    await linux.shell("kill $(cat /pid) && echo has ended | tr a-z A-Z", "HAS ENDED")
    # Now it is looked at, forgotten, and started once more.
    assert await check.run(1) == Failed("/bin/sh takes longer than 1 s")


@pytest.mark.linux_guest
async def test_a_guest_that_stands_still_does_not_hold_up_a_shutdown(linux: Real) -> None:
    await linux.qmp.execute("stop")
    check = asyncio.ensure_future(ping(linux.agent, 600))
    assert not (await asyncio.wait({check}, timeout=0.1))[0]
    await linux.qmp.execute("cont")
    await linux.agent.execute("guest-shutdown", {}, urgent=True, expect_reply=False, deadline=DEADLINE)
    assert isinstance(await check, Passed | Unable)
    async with asyncio.timeout(DEADLINE):
        await linux.shut_down.wait()


# QEMU's user network


@pytest.mark.linux_guest
async def test_a_forwarded_port_is_judged_by_what_the_guest_does(
    tmp_path: Path, each_qemu: str, linux_guest: tuple[Path, Path]
) -> None:
    kernel, initrd = linux_guest
    port = free_port()
    address, url = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/"
    async with running(
        tmp_path, each_qemu,
        *("-machine", "q35", "-m", "256", "-netdev", f"user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:80"),
        *("-device", "virtio-net-pci,netdev=lan"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"),
    ) as guest:  # fmt: skip

        async def connects(deadline: float) -> Verdict:
            return await tcp.connect(address, deadline, monitor=guest.monitor)

        # QEMU takes the connection, and there is no guest that would.
        assert isinstance(await tcp.connect(address, DEADLINE), Passed)
        assert await connects(0.5) == Failed(f"{address} does not answer within 0.5 s")
        await guest.qmp.execute("cont")
        await guest.prints("linux: up")
        network = "ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && echo eth0 up | tr a-z A-Z"
        await guest.shell(network, "ETH0 UP")
        refused = Failed(f"{address}: the guest refuses the connection that QEMU forwards to it")
        assert await connects(DEADLINE) == refused
        server = "mkdir /www && echo fine >/www/index.html && httpd -h /www && echo serving | tr a-z A-Z"
        await guest.shell(server, "SERVING")
        assert await connects(DEADLINE) == Passed(f"{address} takes a connection, and the guest behind it")
        assert await http.get(url, DEADLINE) == Passed(f"{url} answers with 200 OK")
        assert await http.get(f"{url}absent", DEADLINE) == Failed(f"{url}absent answers with 404 Not Found")
        await guest.qmp.execute("stop")
        assert await connects(0.5) == Failed(f"{address} does not answer within 0.5 s")
        assert await http.get(url, 0.5) == Failed(f"{url} does not answer within 0.5 s")


# A console


async def test_a_console_that_beats_and_then_falls_silent(
    tmp_path: Path, qemu_binary: str, heartbeat_image: Path
) -> None:
    disk = f"file={heartbeat_image},format=raw,if=none,id=root,read-only=on"
    async with running(
        tmp_path, qemu_binary,
        *("-machine", "q35", "-m", "32", "-drive", disk, "-device", "virtio-blk-pci,drive=root"),
    ) as guest:  # fmt: skip
        await guest.qmp.execute("cont")
        await guest.prints("beat 2")
        # What came before there was anybody to wait for it.
        await guest.prints("beat 1")
        assert isinstance(await beats(guest.console, 5, DEADLINE), Passed)
        await guest.console.write(b"h")
        async with asyncio.timeout(DEADLINE):
            # It beats once a second until it has read the key.
            while isinstance(await beats(guest.console, 0, 3), Passed):
                pass
        await guest.qmp.execute("system_reset")
        assert isinstance(await beats(guest.console, 0, DEADLINE), Passed)
