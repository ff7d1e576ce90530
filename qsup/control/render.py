"""Answers as a person reads them. Pure: results in, text out; whatever a guest could have written is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.clock import iso
from qsup.control.results import Text, worst
from qsup.control.text import colored, duration, printable, size, table
from qsup.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.control.results import Drill, Outcome, Why
    from qsup.guest.view import EndView, GuestView


_HEADER: Final = ("NAME", "PHASE", "READY", "PID", "UPTIME", "RESTARTS", "REASON")


def listing(views: Sequence[GuestView], wall: float, *, color: bool) -> Text:
    """``qsup list``: a line a guest."""
    if not views:
        return Text(exit=0, text="no guests\n")
    cells = table(_HEADER, [_row(view, wall) for view in views])
    for line, view in zip(cells[1:], views, strict=True):
        # Colour codes have no width on the screen, so they come in after the padding was made.
        line[1] = line[1].replace(view.phase, colored(view.phase, color=color), 1)
    return Text(exit=0, text="".join("  ".join(line).rstrip() + "\n" for line in cells))


def _row(view: GuestView, wall: float) -> tuple[str, ...]:
    maintained = f"; under maintenance until {iso(view.maintenance)}" if view.maintenance else ""
    return (
        view.name,
        view.phase,
        "yes" if view.ready else "no",
        str(view.pid) if view.pid else "-",
        duration(wall - view.started_at) if view.pid and view.started_at else "-",
        str(view.restarts),
        printable(view.reason) + maintained,
    )


def status(views: Sequence[GuestView], wall: float, *, color: bool) -> Text:
    """``qsup status``: a block of lines a guest, with an empty line between."""
    if not views:
        return Text(exit=0, text="no guests\n")
    text = "\n".join(_block(view, wall, color=color) for view in views)
    return Text(exit=int(any(view.phase is Phase.GAVE_UP for view in views)), text=text)


def _block(view: GuestView, wall: float, *, color: bool) -> str:
    title = f"{view.name} - {printable(view.description)}" if view.description else view.name
    ready = ", not ready" if view.phase is Phase.RUNNING else ""
    if view.ready:
        ready = f", ready after {view.ready_after:.1f} s," if view.ready_after else ", ready"
    state = f" ({printable(view.run_state)})" if view.run_state else ""
    facts = [
        ("Phase", f"{colored(view.phase, color=color)}{state}{ready} since {iso(view.since)}"),
        ("Reason", printable(view.reason)),
        ("Not ready", printable(view.not_ready or "")),
        (
            "Ill",
            f"{view.ill.cause} since {iso(view.ill.at)}: {printable(view.ill.detail)}" if view.ill else "",
        ),
        ("Maintained", f"until {iso(view.maintenance)}" if view.maintenance else ""),
        ("Wanted", view.wanted),
        ("Process", _process(view, wall)),
        ("Machine", _machine(view)),
        (
            "Restarts",
            f"{view.restarts}; failures within the window: {view.failures}, limit {view.limit or 'none'}",
        ),
        ("Last end", _last_end(view.last_end) if view.last_end else ""),
        ("Bundle", (view.last_end and view.last_end.bundle) or ""),
        ("Stopped by", printable(view.stopped_by or "")),
        ("Next try", iso(view.next_try) if view.next_try else ""),
        ("Waits for", ", ".join(view.waiting_for)),
        ("Trouble", printable(view.trouble or "")),
        ("Serial", ", ".join(view.serials)),
        ("Helpers", ", ".join(f"{name} (pid {pid})" for name, pid in view.helpers.items())),
        ("Scope", printable(view.scope or "")),
        ("Limits", ", ".join(f"{key} {printable(value)}" for key, value in view.limits.items())),
        ("Display", printable(view.display or "")),
        ("File", "gone; it runs until it is stopped" if view.orphaned else printable(view.file or "")),
        ("Run dir", printable(view.run_dir or "")),
        *(("To change", f"{printable(change)} (restart needed)") for change in view.changes),
        *(("Problem", printable(problem)) for problem in view.problems),
    ]
    return title + "\n" + "".join(f"  {key + ':':<12}{value}\n" for key, value in facts if value)


def _machine(view: GuestView) -> str:
    accel = f", {view.accel}" if view.accel else ""
    return f"{view.machine}, {view.cpus} vCPU{'s' * (view.cpus != 1)}, {size(view.memory)}{accel}"


def _process(view: GuestView, wall: float) -> str:
    if not view.pid:
        return ""
    up = f", for {duration(wall - view.started_at)}" if view.started_at else ""
    qemu = f", QEMU {printable(view.qemu)}" if view.qemu else ""
    return f"{view.pid}{up}{qemu}{', adopted from an earlier daemon' if view.adopted else ''}"


def _last_end(end: EndView) -> str:
    status = f" ({printable(end.status)})" if end.status else ""
    return f"{end.cause}{status} at {iso(end.at)}: {printable(end.detail)}"


def reasons(answers: Sequence[Why]) -> Text:
    """``qsup why``: a paragraph a guest."""
    return Text(exit=0, text="\n".join("\n".join(why.sentences) + "\n" for why in answers))


def drill(held: Drill) -> Text:
    """``qsup drill``: what was expected against what was seen."""
    rows = [
        ("ok" if row.ok else "WRONG", row.what, printable(row.expected), printable(row.seen))
        for row in held.expectations
    ]
    lines = table(("", "WHAT", "EXPECTED", "SEEN"), rows)
    verdict = "as its file says" if held.ok else "not as its file says"
    text = "".join("  ".join(line).rstrip() + "\n" for line in lines)
    return Text(exit=int(not held.ok), text=f"{text}{held.name}: the drill {held.kind} went {verdict}\n")


def outcomes(results: list[Outcome]) -> Text:
    """What became of a verb: a line a guest, failures apart."""
    lines = {True: "", False: ""}
    for outcome in results:
        lines[outcome.done] += f"{outcome.name}: {_without_name(outcome)}\n"
    cut = [outcome.name for outcome in results if outcome.cut_short]
    if cut:
        lines[False] += f"cut short, for want of time: {', '.join(cut)}\n"
    return Text(exit=worst(results), text=lines[True], errors=lines[False])


def _without_name(outcome: Outcome) -> str:
    return printable(outcome.message.removeprefix(f"{outcome.name}: "))
