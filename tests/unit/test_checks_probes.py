"""From what a guest's file asks for to the way in which the guest is asked."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup.argv.invocation import AGENT_FILE
from qsup.checks import watch
from qsup.checks.probes import NO_AGENT, NO_PORT, Means, of_health, of_ready
from qsup.checks.verdict import Failed, Passed, Unable
from qsup.proc.console import Console
from qsup.qmp.agent import Agent
from qsup.spec.model import GuestSpec
from qsup.spec.tables.health import Health
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.ready import Ready
from qsup.spec.tables.serial import Serial
from qsup.spec.tables.vsock import Vsock
from tests.unit.test_agent import answering, serving
from tests.unit.test_checks_network import answers, silent, table
from tests.unit.test_checks_network import serving as listening
from tests.unit.test_checks_notify import Guest, door
from tests.unit.test_checks_watch import FakeRun
from tests.unit.test_console import connected, say

SPEC = GuestSpec(name="web1", serial={"console": Serial(), "other": Serial()})


def health(**keys: Any) -> Health:
    return msgspec.convert({"name": "web", "timeout": "1 s", **keys}, Health, dec_hook=duration)


def ready(**keys: Any) -> Ready:
    return msgspec.convert(keys, Ready, dec_hook=duration)


def duration(kind: Any, text: str) -> Any:
    return kind.parse(text)


class Place:
    """A guest's means, in a directory of the test; QEMU's monitor prints ``network``."""

    def __init__(self, directory: Path) -> None:
        self.network = ""
        self.asked: list[str] = []
        self.consoles = {name: Console(f"web1/{name}", None) for name in SPEC.serial}
        self.means = Means(
            SPEC, Agent(directory, AGENT_FILE), self.consoles.__getitem__, self.monitor, notices=None
        )

    async def monitor(self, command: str) -> str:
        self.asked.append(command)
        return self.network

    def with_nic(self, kind: NicType) -> Means:
        spec = msgspec.structs.replace(SPEC, nic={"lan": Nic(type=kind)})
        return dataclasses.replace(self.means, spec=spec)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_the_agent_is_asked(place: Place, tmp_path: Path) -> None:
    script, asked = answering(
        b'{"return": {}}\n',
        b'{"return": {"pid": 1}}\n',
        b'{"return": {"exited": true, "exitcode": 0}}\n',
        b'{"return": {}}\n',
    )
    async with serving(tmp_path, script):
        for probe in (
            of_health(health(check="agent"), place.means),
            of_health(health(check="exec", command=["/bin/true"]), place.means),
            of_ready(ready(check="agent"), place.means),
        ):
            assert isinstance(await probe(), Passed)
    assert asked == ["guest-ping", "guest-exec", "guest-exec-status", "guest-ping"]


async def test_the_network_is_asked(place: Place) -> None:
    async with listening(answers(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        address, url = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/"
        for probe in (
            of_health(health(check="tcp", address=address), place.means),
            of_ready(ready(check="tcp", address=address), place.means),
            of_health(health(check="http", url=url), place.means),
            of_ready(ready(check="http", url=url), place.means),
        ):
            assert isinstance(await probe(), Passed)
    assert place.asked == []


async def test_qemu_is_asked_what_its_user_network_has_made_of_a_connection(place: Place) -> None:
    async with listening(silent) as port:
        check = health(check="tcp", address=f"127.0.0.1:{port}", timeout="100 ms")
        place.network = table(port, "SYN_SENT")
        assert isinstance(await of_health(check, place.with_nic(NicType.USER))(), Failed)
        assert set(place.asked) == {"info usernet"}
        assert isinstance(await of_health(check, place.with_nic(NicType.TAP))(), Passed)
        assert isinstance(await of_health(check, place.with_nic(NicType.PASST))(), Passed)


async def test_the_console_is_watched_the_first_one_if_none_is_named(place: Place, tmp_path: Path) -> None:
    guest = await connected(place.consoles["console"], tmp_path)
    probe = of_health(health(check="console", interval="1 h"), place.means)
    waiting = asyncio.ensure_future(probe())
    await asyncio.sleep(0)
    await say(guest, b"beat")
    assert await waiting == Passed("web1/console prints")
    other = of_health(health(check="console", serial="other"), place.means)
    assert await other() == Unable("web1/other is not connected")
    for console in place.consoles.values():
        await console.close()
    guest.close()


async def test_a_machine_without_the_device_cannot_be_asked(place: Place) -> None:
    bare = msgspec.structs.replace(SPEC, serial={})
    means = Means(bare, None, place.consoles.__getitem__, place.monitor, notices=None)
    assert await of_health(health(check="agent"), means)() == Unable(NO_AGENT)
    assert await of_health(health(check="exec", command=["/x"]), means)() == Unable(NO_AGENT)
    assert await of_ready(ready(check="agent"), means)() == Unable(NO_AGENT)
    assert await of_health(health(check="console"), means)() == Unable(NO_PORT)
    with pytest.raises(ValueError, match="waited for"):
        of_ready(ready(check="delay", delay="1 s"), means)


async def test_a_text_makes_a_guest_ready(place: Place, tmp_path: Path) -> None:
    guest = await connected(place.consoles["other"], tmp_path)
    wanted = ready(check="console", text="login:", serial="other")
    waiting = asyncio.ensure_future(watch.ready(wanted, place.means, FakeRun(), lambda _: None))
    await say(guest, b"web1 login: ")
    assert await waiting == Passed('web1/other has printed "login:"')
    await place.consoles["other"].close()
    guest.close()


async def test_a_message_makes_a_guest_ready(place: Place, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, vsock=Vsock(enabled=True))
    async with door(tmp_path) as notices:
        means = Means(spec, None, place.consoles.__getitem__, place.monitor, notices)
        waiting = asyncio.ensure_future(watch.ready(ready(check="notify"), means, FakeRun(), lambda _: None))
        await asyncio.sleep(0)
        await Guest(tmp_path, spec.vsock.address("web1")).says("READY=1\nSTATUS=Up.")
        assert await waiting == Passed("its systemd says that it is ready: Up.")
