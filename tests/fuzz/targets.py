"""What strangers may send, or leave on a disk, and what reads it: a function for each.

A function takes any bytes. It lets pass what the reader is allowed to answer (a value, or one of our own errors),
checks what must hold of that, and lets everything else through to whoever has called it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from qsup.blackbox.shelf import _facts
from qsup.control import protocol
from qsup.control.arguments import parse
from qsup.control.commands import COMMANDS
from qsup.control.framing import Splitter
from qsup.control.tail import last_lines
from qsup.control.text import printable, printable_lines
from qsup.errors import QmpError, QsupError, RecordError
from qsup.guest import inputs, record
from qsup.guest.state import State
from qsup.guest.step import step
from qsup.importer.libvirt.domain import draft_of
from qsup.importer.qemu import line as qemu_line
from qsup.importer.settle import settle
from qsup.phase import Phase, Verb
from qsup.qmp.client import NotQmpError, decode
from qsup.qmp.session import QmpSession, checked_event
from qsup.qmp.unread import unread_events
from qsup.spawn.order import MOST_FDS, Memory, Order
from qsup.spawn.wire import Garbled, Request, receive
from qsup.spec import codec
from qsup.spec.load import load
from qsup.status import ExitStatus
from tests.unit.guest_states import LAUNCH, STATES, env

Target = Callable[[bytes], None]
PIECE: Final = 977
"""Bytes that come at once: an odd number, so that pieces end anywhere."""
GREETING: Final = (
    b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, '
    b'"capabilities": []}}\n'
)
MOST_PROBLEMS: Final = 10_000


def control(data: bytes) -> None:
    """A client of the control socket: framing, JSON, every command's arguments."""
    splitter = Splitter()
    with contextlib.suppress(QsupError):
        for start in range(0, len(data), PIECE):
            splitter.add(data[start : start + PIECE])
            while (message := splitter.take()) is not None:
                with contextlib.suppress(QsupError):
                    command = parse(protocol.decode(message))
                    assert type(command) is COMMANDS[command.NAME]
                    assert command.needs


def qmp_lines(data: bytes) -> None:
    """Lines that a QEMU sends: messages and events."""
    for line in data.split(b"\n"):
        with contextlib.suppress(NotQmpError):
            message = decode(line)
            if "event" in message:
                event = checked_event(message)
                assert event is None or (event.name.isprintable() and isinstance(event.data, dict))


def qmp_unread(data: bytes) -> None:
    """What waits on a connection that a daemon has left."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with contextlib.suppress(OSError):
            theirs.send(data)
        theirs.close()
        for event in unread_events(ours):
            assert isinstance(event.data, dict)


def qmp_session(data: bytes) -> None:
    """A QEMU that sends this, whatever it is asked, and then hangs up."""
    asyncio.run(_session(data))


async def _session(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with contextlib.suppress(OSError):
        theirs.send(
            b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}\n'
        )
        theirs.send(b'{"return": {}, "id": "__qmp#00000"}\n' + data)
    theirs.shutdown(socket.SHUT_WR)
    lost: list[str] = []
    async with asyncio.timeout(10):
        with theirs:
            try:
                session = await QmpSession.connect(
                    ours, on_event=lambda _: None, on_lost=lost.append, deadline=1.0
                )
            except QmpError:
                return
            with contextlib.suppress(QmpError):
                await session.execute("query-status", deadline=1.0)
            await session.close()
    assert len(lost) <= 1


def guest_file(data: bytes) -> None:
    """A guest's file, beside one that is good."""
    _configuration("guests/wild.toml", data)


def profile(data: bytes) -> None:
    """A profile that a guest takes."""
    _configuration("profiles/wild.toml", data)


def daemon_file(data: bytes) -> None:
    """The daemon's own file."""
    _configuration("qsup.toml", data)


def _configuration(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_memory()) as directory:
        root = Path(directory)
        for folder in ("guests", "profiles"):
            (root / folder).mkdir()
        (root / "guests/good.toml").write_text("")
        (root / "guests/taker.toml").write_text('profiles = ["wild"]\n')
        (root / name).write_bytes(data)
        found = load(root)
        assert "good" in found.guests, "one file has broken another"
        assert len(found.problems) < MOST_PROBLEMS
        for problem in found.problems:
            assert "\n" not in str(problem) or name != "qsup.toml"
        for spec in found.guests.values():
            assert codec.decode(codec.encode(spec)) == spec


def records(data: bytes) -> None:
    """The three records of a guest; what a state then says, nobody has to believe."""
    with tempfile.TemporaryDirectory(dir=_memory()) as directory:
        path = Path(directory) / "record.json"
        for read in (record.read_launch, record.read_machine, record.read_state):
            path.write_bytes(data)
            try:
                found = read(path)
            except RecordError:
                assert not path.exists(), "it is set aside, and met only once"
                continue
            if isinstance(found, record.StateRecord):
                _live_on(found.state)
            if isinstance(found, record.LaunchRecord):
                with contextlib.suppress(QsupError, msgspec.MsgspecError, ValueError, RecursionError):
                    codec.decode(bytes(found.spec))


def _live_on(state: State) -> None:
    """Whatever a state says, all that may happen next is answered."""
    alive = msgspec.structs.replace(LAUNCH, adopted=True)
    left = inputs.Exited(ExitStatus("exit", 0), "")
    for restored in (
        inputs.Restored(same_boot=True),
        inputs.Restored(same_boot=True, alive=alive),
        inputs.Restored(same_boot=True, exited=left),
        inputs.Restored(same_boot=False, shift=-1000.0),
    ):
        now, _ = step(state, restored, env(now=1000.0))
        for happened in (
            inputs.Connected("running"),
            inputs.RunState("paused"),
            inputs.Command(Verb.START, "somebody"),
            left,
            inputs.Command(Verb.STOP, "somebody"),
            inputs.Timer("backoff"),
        ):
            now, _ = step(now, happened, env(now=1010.0))
            assert now.phase in set(Phase)


def bundle(data: bytes) -> None:
    """The facts of a bundle of evidence."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        _facts(data)


def terminal(data: bytes) -> None:
    """What a guest prints, shown to an operator: nothing of it steers the terminal."""
    text = data.decode(errors="replace")
    assert not any(map(_steers, printable(text)))
    assert not any(_steers(char) and char not in "\n\t" for char in printable_lines(text))
    assert data.endswith(last_lines(data, 3))


def _steers(char: str) -> bool:
    """Whether a terminal does something at it, or writes what follows somewhere else."""
    directs = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return unicodedata.category(char) in {"Cc", "Zl", "Zp"} or unicodedata.bidirectional(char) in directs


def libvirt(data: bytes) -> None:
    """A domain of libvirt's that is to be imported."""
    with contextlib.suppress(QsupError):
        settle(draft_of(data, {}))


def qemu(data: bytes) -> None:
    """A command line of QEMU's that is to be imported."""
    with contextlib.suppress(QsupError, ValueError):
        settle(qemu_line.draft_of(shlex.split(data.decode(errors="replace"))))


def spawner(data: bytes) -> None:
    """What the spawner is asked for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(Garbled):
            request, _ = receive(ours, Request)
            order = request.ordered()
            assert order is None or all(0 <= target < MOST_FDS for target in order.targets)


def _memory() -> str | None:
    """Where files cost no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _json(value: Any) -> bytes:
    return bytes(msgspec.json.encode(value))


STATE: Final = [_json(record.StateRecord(boot_id="b", state=state)) for state in STATES.values()]
REQUESTS: Final = [
    _json({"execute": name, "arguments": {"name": "a", "names": ["a*"]}, "id": 1}) for name in COMMANDS
]
EVENTS: Final = [
    b'{"event": "STOP", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}\n',
    b'{"event": "BLOCK_IO_ERROR", "data": {"device": "", "node-name": "disk-root", "action": "stop"}}\n',
    b'{"return": {"status": "running", "running": true}, "id": "__qmp#00001"}\n',
    b'{"error": {"class": "GenericError", "desc": "no"}, "id": "__qmp#00001"}\n',
    b'{"return": {}, "id": "__qmp#09999"}\n',
    b'{"QMP": {"version": {}, "capabilities": []}}\n',
]
GUEST: Final = [
    b'autostart = true\nafter = ["good"]\n[machine]\ntype = "q35"\n[memory]\nsize = "1 GiB"\n'
    b'[disk.root]\nfile = "/a"\n',
    b'[nic.lan]\ntype = "user"\nforward = ["tcp:127.0.0.1:1-:2"]\n'
    b'[restart]\npolicy = "always"\n[restart.on]\nwatchdog = "stop"\n',
    b'[[health]]\nname = "x"\ncheck = "tcp"\naddress = "127.0.0.1:1"\n'
    b'[limits]\ncpu-weight = 7\n[qemu]\nargs = ["-s"]\n',
]
DAEMON: Final = [
    b'[[access]]\nuser = "a"\nrole = "operate"\n'
    b'[[alert]]\nname = "x"\ncommand = ["/bin/true"]\n[metrics]\nlisten = "127.0.0.1:1"\n',
    b'[crashes]\nper-guest = 3\nsize = "1 MiB"\n[history]\nevents = 10\n',
]
DOMAIN: Final = [
    b"<domain type='kvm'><name>a</name><memory unit='KiB'>1024</memory><vcpu>2</vcpu><os><type>hvm</type></os>"
    b"<devices><disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>"
    b"<interface type='bridge'><source bridge='br0'/></interface></devices></domain>"
]
LINE: Final = [
    b"qemu-system-x86_64 -enable-kvm -m 1G -smp 2 -drive file=/a,if=virtio -netdev user,id=n "
    b"-device virtio-net,netdev=n"
]
ORDERS: Final = [
    _json(Request()),
    _json(
        Request.of(Order.of(["/bin/a", "-b"], {"PATH": "/bin"}, {3: 1, 4: 2}, Memory("bind", frozenset({0}))))
    ),
]
TARGETS: Final[dict[str, tuple[Target, list[bytes]]]] = {
    "control": (control, REQUESTS),
    "spawner": (spawner, ORDERS),
    "qmp-lines": (qmp_lines, EVENTS),
    "qmp-unread": (qmp_unread, EVENTS),
    "qmp-session": (qmp_session, EVENTS),
    "guest-file": (guest_file, GUEST),
    "profile": (profile, GUEST),
    "daemon-file": (daemon_file, DAEMON),
    "records": (records, STATE),
    "bundle": (bundle, STATE),
    "terminal": (terminal, [b"\x1b]0;title\x07\x1b[31mred\r\n\xc2\x9b2J\xe2\x80\xae"]),
    "libvirt": (libvirt, DOMAIN),
    "qemu": (qemu, LINE),
}
"""Each with inputs that it understands, to begin from."""
