"""One abnormal end as files: what happened, and everything that may tell why. Pure.

``summary.md`` is for a person and comes first; ``crash.json`` holds the same facts for programs. What a guest or its
QEMU has written is raw in the ``.txt`` files and escaped in the summary; secrets are in none of them.
"""

from __future__ import annotations

import calendar
import contextlib
import re
import secrets
import shlex
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.blackbox.core import Core
from qsup.blackbox.redact import Redaction
from qsup.blackbox.rings import Remembered
from qsup.cause import Cause
from qsup.spec.model import GuestSpec
from qsup.spec.secrets import secrets_of, without_secrets
from qsup.spec.written import document, said
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.blackbox.rings import Message
    from qsup.events import Event

VERSION: Final = 1
STDERR: Final = 256 << 10
"""Bytes of QEMU's stderr that are kept, from the end."""
CONSOLE: Final = 64 << 10
"""Bytes of each serial port's output, likewise."""
FACTS: Final = "crash.json"
SUMMARY: Final = "summary.md"
SCREEN: Final = "screen.png"
ID: Final = re.compile(
    r"(?P<guest>[A-Za-z][A-Za-z0-9_.@-]{0,47})-(?P<stamp>\d{8}T\d{6}Z)-[0-9a-f]{4}", re.ASCII
)
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of an abnormal end, for :meth:`qsup.blackbox.shelf.Shelf.write`. Times are wall time.

    What is not known, or does not exist, keeps its default; the run need not have ended (a hang, a panic that is kept
    for inspection). Secrets are still in it: they are removed as it is written.
    """

    id: str | None = None
    """What it has been announced as; without it, or if that is taken, one is made up."""
    guest: str
    at: float
    cause: Cause
    detail: str
    """The evidence as a sentence."""
    decision: str = ""
    """The rule that decided, and what follows."""
    evidence: tuple[str, ...] = ()
    """More of it, a sentence each."""
    spec: GuestSpec
    """As it was launched."""
    argv: tuple[str, ...] = ()
    """As it was executed; of a process that an earlier daemon started :func:`.identity.command_line` tells it."""
    pid: int | None = None
    status: ExitStatus | None = None
    started: float | None = None
    ran: float | None = None
    """How long the vCPUs had run."""
    qemu: str | None = None
    """Its version, as it says itself."""
    accel: str | None = None
    machine: str | None = None
    stderr: bytes = b""
    consoles: dict[str, bytes] = {}
    """The end of what was printed on each serial port, by its id."""
    remembered: Remembered = Remembered()
    """:meth:`qsup.blackbox.rings.Rings.remembered`."""
    screen: bytes | None = None
    """A PNG: :func:`qsup.blackbox.screenshot.screenshot`."""
    panic: str | None = None
    """What the guest's kernel said when it panicked."""
    core: Core | None = None
    """:func:`qsup.blackbox.core.locate`, in a thread."""
    figures: dict[str, Any] = {}
    """:func:`qsup.blackbox.figures.figures`, while the process lives if that is possible."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """``crash.json``: what is known of one end, without what is in the other files."""

    version: int = VERSION
    id: str
    guest: str
    at: float
    cause: str
    detail: str
    decision: str
    evidence: tuple[str, ...]
    pid: int | None
    status: str | None
    started: float | None
    ran: float | None
    qemu: str | None
    accel: str | None
    machine: str | None
    panic: str | None
    core: Core | None


def id_of(guest: str, at: float, chance: int) -> str:
    """The name of a bundle: guest, time (wall time in seconds), and a number below 65536 that tells two apart."""
    return f"{guest}-{time.strftime(_STAMP, time.gmtime(at))}-{chance:04x}"


def new_id(guest: str, at: float) -> str:
    """A name for a bundle that no other has."""
    return id_of(guest, at, secrets.randbits(16))


def time_of(stamp: str) -> float:
    """The time in an id, in seconds since the epoch; 0.0 if there is no such time."""
    with contextlib.suppress(ValueError):
        return float(calendar.timegm(time.strptime(stamp, _STAMP)))
    return 0.0


def cleaned(crash: Crash) -> Crash:
    """The crash without its secrets, as far as they can be known, and with what is long cut to its end."""
    hide = Redaction(secrets_of(crash.spec))
    return msgspec.structs.replace(
        crash,
        detail=hide.text(crash.detail),
        decision=hide.text(crash.decision),
        evidence=tuple(hide.text(sentence) for sentence in crash.evidence),
        argv=tuple(hide.word(word) for word in crash.argv),
        stderr=hide.data(crash.stderr[-STDERR:]),
        consoles={port: hide.data(printed[-CONSOLE:]) for port, printed in crash.consoles.items()},
        remembered=_remembered(crash.remembered, hide),
        panic=None if crash.panic is None else hide.text(crash.panic),
        core=None if crash.core is None else _core(crash.core, hide),
        figures=hide.value(crash.figures),
    )


def _core(core: Core, hide: Redaction) -> Core:
    return Core(hide.text(core.told), None if core.path is None else hide.text(core.path))


def _remembered(all_: Remembered, hide: Redaction) -> Remembered:
    return Remembered(
        tuple(msgspec.structs.replace(one, text=hide.data(one.text)) for one in all_.messages),
        tuple(msgspec.structs.replace(one, data=hide.value(one.data)) for one in all_.events),
        tuple(
            msgspec.structs.replace(one, values=hide.value(msgspec.to_builtins(one.values)))
            for one in all_.samples
        ),
    )


def facts_of(crash: Crash, id_: str) -> Facts:
    """What ``crash.json`` says."""
    taken = {
        field: getattr(crash, field) for field in Facts.__struct_fields__ if field in Crash.__struct_fields__
    }
    taken["status"] = None if crash.status is None else str(crash.status)
    taken["cause"] = crash.cause.value
    taken["id"] = id_
    return Facts(**taken)


def files(crash: Crash) -> dict[str, bytes]:
    """The files of a crash that has been :func:`cleaned`, but for the summary and the facts."""
    made = {
        "spec.toml": _spec(crash.spec).encode(),
        "argv.txt": _command_line(crash.argv).encode(),
        "stderr.txt": crash.stderr,
        **{f"console-{port}.txt": printed for port, printed in crash.consoles.items()},
        "qmp.jsonl": _lines(_heard(message) for message in crash.remembered.messages),
        "events.jsonl": _lines(_happened(event) for event in crash.remembered.events),
        "samples.jsonl": _lines(crash.remembered.samples),
        "figures.json": msgspec.json.format(msgspec.json.encode(crash.figures), indent=1) + b"\n",
    }
    if crash.screen is not None:
        made[SCREEN] = crash.screen
    return made


def _spec(spec: GuestSpec) -> str:
    # The secrets that it holds are gone by their keys; here it is about what the form gives away.
    return document(Redaction(()).value(without_secrets(said(spec))))


def _command_line(argv: tuple[str, ...]) -> str:
    """The words as a shell takes them, an option a line."""
    lines: list[str] = []
    for word in map(shlex.quote, argv):
        if lines and not word.startswith("-"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n  ".join(lines) + "\n"


def _lines(values: Iterable[Any]) -> bytes:
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def _happened(event: Event) -> dict[str, Any]:
    return {**event.wire(), "seq": event.seq}


def _heard(message: Message) -> dict[str, Any]:
    """A QMP message: as JSON if all of it was kept and it is that, else its beginning as text, and its length."""
    heard = {"way": message.way, "first": message.first, "last": message.last, "times": message.times}
    try:
        return {**heard, "message": msgspec.json.decode(message.text)}
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        return {**heard, "begins": message.text.decode(errors="replace"), "length": message.length}
