"""What QEMU tells of its guest: its events, and its run state, which says the same to a daemon that missed the event.

Their data may be the lie of a guest that has taken QEMU over: it decides about that guest only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.cause import Cause
from qsup.guest import disks, readiness
from qsup.guest.effects import Arm, QueryStatus
from qsup.guest.policy import react
from qsup.guest.response import QUIT_PATIENCE, counted, end, is_same_reboot, respond, tell, trouble
from qsup.guest.state import Ending
from qsup.guest.turn import ENDING
from qsup.phase import Phase
from qsup.spec.tables.watchdog import WatchdogAction

if TYPE_CHECKING:
    from qsup.guest.inputs import Happened
    from qsup.guest.turn import Turn

RESETS_EVERY: Final = 1.0
"""Seconds between two notices of resets."""
PAUSE_REASONS: Final = {
    "paused": "its vCPUs are stopped",
    "suspended": "the guest has suspended itself",
    "postmigrate": "it has been migrated away",
    "save-vm": "a snapshot is being saved",
    "restore-vm": "a snapshot is being loaded",
    "debug": "a debugger holds it",
}
DETAILS: Final = {
    Cause.GUEST_SHUTDOWN: "the guest powered itself off",
    Cause.GUEST_RESET: "the guest reset itself",
    Cause.GUEST_PANIC: "the guest's kernel panicked",
    Cause.GUEST_CRASHLOADED: "the guest's crash kernel has done its work",
    Cause.TRIPLE_FAULT: "a vCPU met a triple fault",
    Cause.WATCHDOG: "the guest did not feed its watchdog device",
    Cause.KVM_INTERNAL_ERROR: "KVM cannot go on with a vCPU",
}
UNTRACED: Final = (
    "it powered itself off or was reset; nobody was there, and this QEMU has not written down which"
)
_SETTLED: Final = {
    "shutdown": Cause.GUEST_SHUTDOWN,
    "guest-panicked": Cause.GUEST_PANIC,
    "internal-error": Cause.KVM_INTERNAL_ERROR,
}
"""Run states that an end leaves behind."""


def found(turn: Turn, run_state: str, rests_by: str | None) -> None:
    """Draw the conclusion from the run state in which QEMU was found, and from what has brought its guest to rest."""
    if run_state != "shutdown" or turn.state.phase is Phase.STOPPING:
        observe(turn, run_state)
        return
    turn.set(run_state=run_state)
    if rests_by in (Cause.GUEST_RESET, Cause.TRIPLE_FAULT):
        cause = Cause(rests_by)
        _settle(turn, counted(turn, Ending(cause, DETAILS[cause])))
    elif rests_by is None and turn.env.spec.restart.on.rests_at_reset:
        _settle(turn, Ending(Cause.UNKNOWN, UNTRACED))
    else:
        _settle(turn, Ending(Cause.GUEST_SHUTDOWN, DETAILS[Cause.GUEST_SHUTDOWN]))


def observe(turn: Turn, run_state: str) -> None:
    """Draw the conclusion from QEMU's run state."""
    turn.set(run_state=run_state)
    if turn.state.phase is Phase.STOPPING:
        return
    match run_state:
        case "running":
            readiness.runs(turn)
        case "shutdown" if turn.launch.shutdown_reason == "guest-reset":
            # That was answered as its event came; the answer may be a reset that is under way.
            return
        case "prelaunch" if turn.state.phase is not Phase.PAUSED:
            turn.qmp("cont")
        case "shutdown" | "guest-panicked" | "internal-error":
            cause = _SETTLED[run_state]
            _settle(turn, Ending(cause, _detail(turn, cause)))
        case "watchdog":
            _watchdog_stopped(turn)
        case "io-error":
            disks.stopped(turn)
        case _:
            turn.enter(Phase.PAUSED, PAUSE_REASONS.get(run_state, f"QEMU's run state is {run_state[:40]}"))


def _settle(turn: Turn, ending: Ending) -> None:
    """An end shows in the run state: act on it unless the guest is kept in it already."""
    if turn.state.phase is not Phase.PAUSED:
        respond(turn, ending, over=True)


def _detail(turn: Turn, cause: Cause) -> str:
    said = turn.launch.panic if cause is Cause.GUEST_PANIC else None
    return f"{DETAILS[cause]}: {said}" if said else DETAILS[cause]


def happened(turn: Turn, event: Happened) -> None:
    """An event from QEMU."""
    match event.name:
        case "RESUME":
            if turn.state.phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED, Phase.UNREACHABLE):
                readiness.runs(turn)
        case "STOP":
            if turn.state.phase is Phase.RUNNING:
                turn.do(QueryStatus())
        case "SHUTDOWN":
            _shutdown(turn, event)
        case "RESET":
            if event.data.get("guest") is True:
                _reset(turn, event)
        case "GUEST_PANICKED":
            _panicked(turn, event)
        case "GUEST_CRASHLOADED":
            _crashloaded(turn)
        case "WATCHDOG":
            _watchdog(turn, event)
        case "BLOCK_IO_ERROR":
            disks.error(turn, event)
        case "BLOCK_IMAGE_CORRUPTED":
            disks.corrupted(turn, event)
        case _:
            return


def _shutdown(turn: Turn, event: Happened) -> None:
    reason = event.data.get("reason")
    known = reason[:40] if isinstance(reason, str) else None
    turn.set_launch(shutdown_reason=known)
    turn.saw(f"QEMU's event SHUTDOWN: reason {known}")
    match reason:
        case "guest-shutdown":
            cause = Cause.WATCHDOG if turn.launch.watchdog == "shutdown" else Cause.GUEST_SHUTDOWN
            respond(turn, Ending(cause, DETAILS[cause]), over=True)
        case "guest-reset":
            turn.set(run_state="shutdown")
            cause = _cause_of_reset(turn, event)
            respond(turn, counted(turn, Ending(cause, DETAILS[cause])), over=True)
        case "guest-panic":
            respond(turn, Ending(Cause.GUEST_PANIC, _detail(turn, Cause.GUEST_PANIC)), over=True)
        case "host-signal" | "host-qmp-quit" if turn.state.phase is not Phase.STOPPING:
            # Its exit will be judged by this reason. QEMU has been seen to hang on its way out, so it gets a limit.
            turn.enter(Phase.STOPPING, "QEMU has been told to end, by somebody else")
            turn.do(Arm(ENDING, QUIT_PATIENCE))
        case _:
            return


def _cause_of_reset(turn: Turn, event: Happened) -> Cause:
    """Why the guest was reset: what was told before it is told only once."""
    fired, crashed = turn.launch.watchdog == "reset", turn.launch.crashloaded
    turn.set_launch(watchdog=None, crashloaded=False)
    if fired:
        return Cause.WATCHDOG
    if crashed:
        return Cause.GUEST_CRASHLOADED
    return Cause.TRIPLE_FAULT if event.triple_fault else Cause.GUEST_RESET


def _reset(turn: Turn, event: Happened) -> None:
    """QEMU has reset the machine and goes on; a machine in a boot loop is told of once a second."""
    cause, launch = _cause_of_reset(turn, event), turn.launch
    told = launch.resets_told is not None and turn.env.now - launch.resets_told < RESETS_EVERY
    again = is_same_reboot(turn)
    turn.set_launch(resets=launch.resets + 1, resets_told=launch.resets_told if told else turn.env.now)
    ending = counted(turn, Ending(cause, DETAILS[cause]))
    if ending.cause is Cause.REBOOT_LOOP:
        respond(turn, ending, over=True)
    elif not told and not again:
        _tell_of_reset(turn, ending)
    if turn.state.phase is not Phase.STOPPING:
        readiness.reboots(turn)


def _tell_of_reset(turn: Turn, ending: Ending) -> None:
    detail = f"{ending.detail} (reset {turn.launch.resets} of this run)"
    if ending.cause is Cause.GUEST_RESET:
        turn.notice(f"{ending.cause}: {detail}")
    else:
        tell(turn, Ending(ending.cause, detail), "QEMU has reset it already")


def _panicked(turn: Turn, event: Happened) -> None:
    turn.set_launch(panic=event.printed)
    turn.saw("QEMU's event GUEST_PANICKED")
    if event.data.get("action") == "run":
        ending = Ending(Cause.GUEST_PANIC, _detail(turn, Cause.GUEST_PANIC), turn.launch.seen)
        tell(turn, ending, "it runs on, as its file wants")
        return
    turn.set(run_state="guest-panicked")
    respond(turn, Ending(Cause.GUEST_PANIC, _detail(turn, Cause.GUEST_PANIC)), over=True)


def _crashloaded(turn: Turn) -> None:
    """The guest is about to run its crash kernel: without a rule it is let do so, and the reset after it counts."""
    turn.set_launch(crashloaded=True)
    turn.saw("QEMU's event GUEST_CRASHLOADED")
    detail = "the guest's kernel panicked, and its crash kernel takes over"
    respond(turn, Ending(Cause.GUEST_CRASHLOADED, detail), over=False)


def _watchdog(turn: Turn, event: Happened) -> None:
    action = event.data.get("action")
    known = action[:20] if isinstance(action, str) else "unknown"
    turn.saw(f"QEMU's event WATCHDOG: action {known}")
    if known in ("reset", "shutdown", "poweroff"):
        # What follows will be judged by this.
        turn.set_launch(watchdog=known)
    elif known != "pause":
        tell(
            turn, Ending(Cause.WATCHDOG, DETAILS[Cause.WATCHDOG], turn.launch.seen), f"its action is {known}"
        )


def _watchdog_stopped(turn: Turn) -> None:
    """The device has stopped the vCPUs: by a rule of ours, which is to be applied, or as its own table says."""
    ending, spec = Ending(Cause.WATCHDOG, DETAILS[Cause.WATCHDOG]), turn.env.spec
    if turn.state.phase is Phase.PAUSED:
        return
    if spec.restart.on.watchdog is not None:
        respond(turn, ending, over=True)
    elif spec.watchdog.action is WatchdogAction.POWEROFF:
        end(turn, ending)
    else:
        trouble(turn, ending, react(Cause.WATCHDOG, spec.restart))
        turn.enter(Phase.PAUSED, f"{ending.cause}: {ending.detail}; watchdog.action")
