"""An abnormal end with everything that may be known of one."""

from __future__ import annotations

import signal
from typing import Any

from qsup.blackbox.bundle import Crash
from qsup.blackbox.core import Core
from qsup.blackbox.rings import Rings
from qsup.cause import Cause
from qsup.events import Event, Kind
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import Disk
from qsup.spec.tables.qemu import Qemu
from qsup.spec.tables.serial import Serial
from qsup.status import ExitStatus

AT = 1_795_571_112.25
"""2026-11-25T01:45:12.250Z."""
SECRET = "correct horse"


def spec(name: str = "web1") -> GuestSpec:
    """A guest that has secrets."""
    return GuestSpec(
        name=name,
        disk={"root": Disk(file=HostPath("/srv/web1.qcow2"))},
        serial={"console": Serial()},
        credential={"root.hash": Credential(text=SECRET)},
        qemu=Qemu(args=("-object", "secret,id=s0,data=hush-hush")),
    )


def crash(guest: str = "web1", at: float = AT, **facts: Any) -> Crash:
    """A QEMU that died of SIGSEGV; ``facts`` replace what is known."""
    rings = Rings()
    rings.messages.sent({"execute": "stop", "id": "1"}, b'{"execute":"stop","id":"1"}')
    rings.messages.received(b'{"return": {}, "id": "1"}\r\n')
    rings.messages.received(b'{"return": "%s"}\r\n' % (b"x" * 5000))
    rings.happened(Event(7, at, Kind.NOTICE, {"name": guest, "message": f"it said {SECRET}"}))
    rings.sampled(at, {"cpu": 0.5})
    known: dict[str, Any] = {
        "guest": guest,
        "at": at,
        "cause": Cause.QEMU_SIGNAL,
        "detail": "signal 11 (SIGSEGV) ended QEMU",
        "decision": 'restart.policy = "on-failure": restart in 1 s',
        "evidence": ("the kernel's log names it",),
        "spec": spec(guest),
        "argv": (
            "/usr/bin/qemu-system-x86_64",
            "-S",
            "-object",
            "secret,id=s0,data=hush-hush",
            "-append",
            "a b",
        ),
        "pid": 4711,
        "status": ExitStatus("signal", signal.SIGSEGV),
        "started": at - 60,
        "ran": 59.5,
        "qemu": "7.2.22",
        "accel": "tcg",
        "machine": "pc-q35-7.2",
        "stderr": b"qemu-system-x86_64: warning\n",
        "consoles": {"console": b"login: \x1b[31mred\r\n" + SECRET.encode() + b"\n"},
        "remembered": rings.remembered(),
        "screen": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "panic": "Kernel panic - not syncing",
        "core": Core("it is in /core.4711 (5 bytes)", "/core.4711"),
        "figures": {
            "host": {"/proc/loadavg": "0.1 0.2 0.3 1/99 7", "/proc/meminfo": {"MemAvailable": "1 kB"}},
            "disks": {"/srv/web1.qcow2": {"available": 1 << 30, "total": 4 << 30}},
        },
    }
    return Crash(**{**known, **facts})
