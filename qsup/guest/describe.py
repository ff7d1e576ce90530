"""From a guest's state to what the outside sees of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import DISPLAY_FILES
from qsup.guest.policy import within_window
from qsup.guest.view import EndView, GuestView, IllView
from qsup.phase import ALIVE
from qsup.spec.diff import diff
from qsup.spec.limits import in_words

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.guest.state import End, Ill, State
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.display import Display
    from qsup.spec.tables.limits import Limits


def describe(
    state: State,
    spec: GuestSpec,
    *,
    launched: GuestSpec | None,
    machine: str | None,
    run_dir: Path | None,
    helpers: dict[str, int],
    scope: str | None,
    limits: Limits,
    qemu: str | None,
    now: float,
    wall: float,
    file: str | None,
    orphaned: bool,
    problems: tuple[str, ...],
    waiting_for: tuple[str, ...],
) -> GuestView:
    """The view of a guest. ``now`` and ``wall`` are the same moment on the two clocks.

    It is long because the view is: a line for each argument and each field, and no decision that could go elsewhere.
    """
    launch = state.launch if state.phase in ALIVE else None
    running_since = launch.running_since if launch else None
    shown = launched or spec
    return GuestView(
        name=spec.name,
        phase=state.phase,
        ready=state.ready,
        ready_after=launch.ready_after if launch else None,
        not_ready=launch.not_ready if launch and not state.ready else None,
        pid=state.pid,
        wanted=state.wanted,
        cause=state.last_end.cause if state.last_end else None,
        restarts=state.restarts,
        since=state.since_wall,
        reason=state.reason,
        next_try=None if state.next_try is None else wall + (state.next_try - now),
        run_state=state.run_state,
        waiting_for=waiting_for,
        failures=len(within_window(state.failures, spec.restart, now)),
        limit=spec.restart.limit,
        last_end=_end(state.last_end) if state.last_end else None,
        ill=_ill(state.ill, now, wall) if state.ill else None,
        maintenance=None if state.maintenance is None else wall + (state.maintenance - now),
        started_at=None if running_since is None else wall - (now - running_since),
        adopted=launch.adopted if launch else False,
        file=file,
        orphaned=orphaned,
        changes=tuple(str(change) for change in diff(launched, spec) if not change.live) if launched else (),
        problems=problems,
        description=spec.description,
        machine=machine or shown.machine.type,
        accel=launch.accel if launch else None,
        qemu=qemu,
        memory=int(shown.memory.size),
        cpus=shown.cpu.count,
        run_dir=str(run_dir) if run_dir else None,
        serials=tuple(shown.serial),
        helpers=helpers,
        scope=scope,
        limits=in_words(limits),
        display=screen_line(shown.display, run_dir) if run_dir else None,
        trouble=state.trouble,
        stopped_by=state.last_end.stopped_by if state.last_end else None,
    )


def screen_line(display: Display, run_dir: Path) -> str | None:
    """How the screen is reached."""
    if not display.type.is_served:
        return display.type if display.draws else None
    if display.port is None:
        place = f"unix:{run_dir}/{DISPLAY_FILES[display.type]}"
    else:
        host = f"[{display.address}]" if ":" in display.address else display.address
        place = f"{host}:{display.port}"
    return f"{display.type} on {place}{', TLS' if display.tls else ''}"


def _end(end: End) -> EndView:
    return EndView(
        cause=end.cause,
        detail=end.detail,
        status=str(end.status) if end.status else None,
        at=end.wall,
        ran=end.ran,
        decision=end.decision,
        evidence=end.evidence,
        bundle=end.bundle,
    )


def _ill(ill: Ill, now: float, wall: float) -> IllView:
    return IllView(cause=ill.cause, detail=ill.detail, at=wall - (now - ill.since))
