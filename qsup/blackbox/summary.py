"""``summary.md``: an abnormal end as a person reads it. Pure.

What a guest or its QEMU may have written stands in blocks that every line of is indented by, so that nothing in it
can be taken for the summary's own, by a reader or by what renders Markdown; and no terminal is told anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qsup.blackbox.bundle import FACTS, SCREEN
from qsup.clock import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qsup.blackbox.bundle import Crash
    from qsup.blackbox.rings import Message
    from qsup.events import Event

LAST_LINES: Final = 20
"""Lines of stderr, and of each serial port."""
LAST_EVENTS: Final = 10
LAST_MESSAGES: Final = 12
WIDTH: Final = 300
"""Characters of a line."""
PANIC_LINES: Final = 60

_GIB: Final = 1 << 30
_FILES: Final = {
    FACTS: "what is said here, for programs",
    "spec.toml": "the guest as it was launched, as a file for it would say it",
    "argv.txt": "the command line that was executed",
    "stderr.txt": "what QEMU wrote",
    "qmp.jsonl": "the last QMP messages both ways",
    "events.jsonl": "what qsup announced of the guest",
    "samples.jsonl": "what was measured of it",
    "figures.json": "host, QEMU and cgroup at that moment, in the kernel's words",
    SCREEN: "its screen",
}


def summary(crash: Crash, id_: str, files: Iterable[str]) -> str:
    """The text, for a crash that has been cleaned and the names of its other files."""
    parts = [
        _headed(f"# {crash.guest}: {crash.cause}", [f"{iso(crash.at)}, `{id_}`", "", *_block(crash.detail)]),
        _headed("## What was decided", _block(crash.decision)),
        _headed("## Evidence", _block("\n".join(crash.evidence))),
        _headed("## What the guest's kernel said", _block(_end(crash.panic or "", PANIC_LINES))),
        _headed("## The process", _block("\n".join(_process(crash)))),
        _headed("## Core dump", _block(crash.core.told if crash.core else "")),
        _headed("## The last that QEMU wrote", _block(_end(_text(crash.stderr)))),
        *(
            _headed(f"## The last on serial port `{port}`", _block(_end(_text(printed))))
            for port, printed in crash.consoles.items()
        ),
        _headed("## Last events", _block("\n".join(map(_event, crash.remembered.events[-LAST_EVENTS:])))),
        _headed(
            "## Last QMP messages",
            _block("\n".join(map(_message, crash.remembered.messages[-LAST_MESSAGES:]))),
        ),
        _headed("## The host", _block("\n".join(_host(crash.figures)))),
        _headed(
            "## Files",
            [f"- `{name}`: {_FILES.get(name, 'what was printed on that serial port')}" for name in files],
        ),
    ]
    return "\n".join(part for part in parts if part)


def _headed(heading: str, lines: list[str]) -> str:
    """A part with its heading; nothing if there is nothing to say."""
    return f"{heading}\n\n" + "".join(f"{line}\n" for line in lines) if lines else ""


def _block(text: str) -> list[str]:
    """Lines that mean nothing but themselves; they must follow an empty one."""
    lines = [f"    {visible(line)}".rstrip() for line in text.split("\n")]
    return lines if any(lines) else []


def visible(line: str) -> str:
    """A line with its control characters, and whatever else hides or reorders text, shown as escapes."""
    cut = line[:WIDTH] + (" …" if len(line) > WIDTH else "")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in cut.expandtabs()
    )


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _end(text: str, count: int = LAST_LINES) -> str:
    """The last lines. Only newlines end lines here: consoles are full of carriage returns that do not."""
    lines = [line.rstrip("\r") for line in text.rstrip().split("\n")]
    left_out = [f"({len(lines) - count} lines before)"] if len(lines) > count else []
    return "\n".join([*left_out, *lines[-count:]])


def _process(crash: Crash) -> Iterator[str]:
    known = {
        "status": crash.status,
        "pid": crash.pid,
        "started": None if crash.started is None else iso(crash.started),
        "vCPUs had run": None if crash.ran is None else f"{crash.ran:.1f} s",
        "QEMU": crash.qemu,
        "machine": crash.machine,
        "accelerator": crash.accel,
    }
    for name, value in known.items():
        if value is not None:
            yield f"{name + ':':<15}{value}"


def _event(event: Event) -> str:
    told = event.data.get("message") or event.data.get("reason") or event.data.get("detail") or ""
    what = " ".join(str(event.data[key]) for key in ("phase", "cause", "decision") if event.data.get(key))
    return f"{_time(event.at)}  {event.kind}  {what}{': ' * bool(what and told)}{told}"


def _message(message: Message) -> str:
    often = f"({message.times} times since {_time(message.first)}) " if message.times > 1 else ""
    arrow = "→" if message.way == "out" else "←"
    return f"{_time(message.last)}  {arrow} {often}{message.text.decode(errors='backslashreplace')}"


def _time(at: float) -> str:
    return iso(at)[11:23]


def _host(figures: dict[str, Any]) -> Iterator[str]:
    """The few figures that most ends have to do with."""
    host = figures.get("host", {})
    memory = host.get("/proc/meminfo", {})
    cgroup = figures.get("cgroup", {})
    for name, value in (
        ("load", host.get("/proc/loadavg")),
        ("memory available", memory.get("MemAvailable")),
        ("memory in all", memory.get("MemTotal")),
        ("swap free", memory.get("SwapFree")),
        ("waiting for memory", host.get("/proc/pressure/memory", {}).get("some")),
        ("waiting for I/O", host.get("/proc/pressure/io", {}).get("some")),
        ("killed in its cgroup for want of memory", cgroup.get("memory.events", {}).get("oom_kill")),
        ("not known", figures.get("unanswered")),
    ):
        if value is not None:
            yield f"{name}: {value}"
    for path, disk in figures.get("disks", {}).items():
        yield f"room for {path}: {disk['available'] / _GIB:.1f} GiB of {disk['total'] / _GIB:.1f} GiB"
