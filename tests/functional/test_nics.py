"""Network cards on a real QEMU: what only a machine that runs shows."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError

from qsup.argv.build import build
from qsup.argv.invocation import LaunchContext
from qsup.argv.nic import derived_mac
from qsup.probe.ask import find_out
from qsup.spec.model import GuestSpec
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.passthrough import UsbRedirect
from tests.fakes import fake_qemu
from tests.functional.harness import DEADLINE, HEARTBEAT, IDLE, Site
from tests.functional.peers import free_port
from tests.functional.test_argv_accepted import TOKEN, Launched

CARDS = """
[nic.in]
model = "e1000"
[nic.out]
model = "e1000"
link = false
"""
STATUS = 0x8
"""The register of the e1000 with the state of the link (Intel: PCI/PCI-X Family of Gigabit Ethernet Controllers)."""
LINK_UP = 0x2


async def link(site: Site, guest: str, card: str) -> bool:
    """Whether an e1000 tells its driver that there is a link: read from the card, where the firmware has mapped it."""
    pci = await monitor(site, guest, "info pci")
    found = re.search(rf'BAR0: 32 bit memory at (0x\w+)(?:(?!BAR0)[\s\S])*?id "{card}"', pci)
    assert found, pci
    register = await monitor(site, guest, f"xp /1wx {int(found[1], 16) + STATUS:#x}")
    return bool(int(register.partition(":")[2], 16) & LINK_UP)


async def monitor(site: Site, guest: str, line: str) -> str:
    arguments = {"command-line": line}
    answer = await site.run("guest-qmp", name=guest, command="human-monitor-command", arguments=arguments)
    return str(answer)


async def test_a_cable_that_is_out_as_the_guest_starts_is_out_for_the_guest(
    empty: Site, heartbeat_image: Path
) -> None:
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + CARDS)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    assert await link(empty, "heart", "nic-in")
    assert not await link(empty, "heart", "nic-out")


async def test_a_start_fails_by_a_command_that_qemu_does_not_take(empty: Site, tmp_path: Path) -> None:
    binary = fake_qemu.install(tmp_path, "refuse=set_link")
    empty.guest("idle", f'{IDLE}[qemu]\nbinary = "{binary}"\n[nic.lan]\nlink = false\n')
    await empty.start()
    with pytest.raises(ExecuteError, match=r"start-failed: .* did not execute set_link: the fake refuses it"):
        await empty.run("guest-start", name="idle")


async def connected(site: Site, guest: str) -> None:
    """Wait until the guest's QEMU shows a peer. It tells of one by an event, which the daemon does not pass on."""
    async with asyncio.timeout(DEADLINE):
        while "tcp:127.0.0.1:" not in await monitor(site, guest, "info network"):
            await asyncio.sleep(0.02)


async def test_two_guests_are_joined_by_a_cable(empty: Site) -> None:
    nic = f'{IDLE}[nic.lan]\ntype = "socket"\n'
    port = free_port()
    empty.guest("first", f'{nic}listen = "127.0.0.1:{port}"\n')
    empty.guest("second", f'after = ["first"]\n{nic}connect = "127.0.0.1:{port}"\n')
    await empty.start()
    for name in ("first", "second"):
        await empty.run("guest-start", name=name)
    await connected(empty, "first")
    await connected(empty, "second")


async def test_what_a_guest_sends_comes_out_at_the_other_end_of_its_cable(empty: Site) -> None:
    port = free_port()
    nic = f'[nic.lan]\ntype = "socket"\nlisten = "127.0.0.1:{port}"\n'
    # The card's own ROM asks for an address.
    empty.guest("web1", f'{IDLE}{nic}[boot]\norder = ["lan"]\n')
    await empty.start()
    await empty.run("guest-start", name="web1")
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        length = int.from_bytes(await reader.readexactly(4))
        frame = await reader.readexactly(length)
    assert (frame[:6].hex(":"), frame[6:12].hex(":")) == ("ff:ff:ff:ff:ff:ff", derived_mac("web1", "lan"))
    writer.close()
    await writer.wait_closed()


def test_a_qemu_that_can_calls_until_somebody_answers(each_qemu: str, tmp_path: Path) -> None:
    facts = find_out(each_qemu)
    server, remote = (socket.socket() for _ in range(2))
    with server, remote:
        ports = []
        for listener in (server, remote):
            listener.settimeout(DEADLINE)
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        spec = GuestSpec(
            name="web1",
            machine=Machine(accel=Accel.TCG),
            nic={"lan": Nic(type=NicType.SOCKET, connect=f"127.0.0.1:{ports[0]}")},
            usb_redirect={"stick": UsbRedirect(address=f"127.0.0.1:{ports[1]}")},
        )
        # Nobody listens yet: both are bound only.
        context = LaunchContext(TOKEN, str(tmp_path), str(tmp_path))
        with Launched(build(spec, facts, context), tmp_path) as guest:
            guest.greet()
            remote.listen()
            remote.accept()[0].close()
            if "reconnect-ms" in facts.members["NetdevStreamOptions"]:
                server.listen()
                server.accept()[0].close()
