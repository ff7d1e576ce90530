"""Trouble with disks: a guest that QEMU stopped at an I/O error, at a full disk, or at a damaged image.

A full disk heals itself: the guest stays paused until there is room, and goes on then. One that is full again soon
after has to wait longer each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.cause import Cause
from qsup.guest.effects import Arm
from qsup.guest.policy import Verdict, react
from qsup.guest.response import recovered, respond, tell
from qsup.guest.state import DiskTrouble, Ending, Ill
from qsup.guest.turn import CALM
from qsup.phase import Phase
from qsup.spec.policy import Reaction

if TYPE_CHECKING:
    from qsup.guest.inputs import Happened
    from qsup.guest.turn import Turn

FIRST_WAIT: Final = 1.0
"""Seconds before a guest is first let go on; they double up to the last."""
LAST_WAIT: Final = 60.0
CALM_AFTER: Final = 120.0
"""Seconds without trouble after which the next trouble is the first again."""
TOLD_EVERY: Final = 60.0
"""Seconds between two reports of errors at which the guest runs on."""
CORRUPTED: Final = "QEMU's event BLOCK_IMAGE_CORRUPTED"
STOPS: Final = frozenset({Cause.IO_ERROR, Cause.NO_SPACE})
PREFIXES: Final = ("file-disk-", "disk-", "file-cdrom-", "cdrom-")
"""What precedes an id of the guest's file in the names of QEMU's block nodes."""


def error(turn: Turn, event: Happened) -> None:
    """A disk met an error. If QEMU stops at it, the run state will say so; else the guest has been told of it."""
    now, told = turn.env.now, turn.launch.disk_told
    operation = event.data.get("operation")
    known = turn.launch.disk
    stops = event.data.get("action") == "stop"
    if event.late and known is not None and known.node == _disk(event):
        # The event itself said more.
        return
    if _is_damaged(turn, _disk(event)):
        # QEMU has no image for it any more, so all that the guest wants of it fails.
        return
    trouble = DiskTrouble(
        _disk(event),
        operation[:10] if isinstance(operation, str) else "access",
        event.data.get("nospace") is True,
        now,
    )
    turn.set_launch(disk=trouble)
    if not stops and (told is None or now - told >= TOLD_EVERY):
        turn.set_launch(disk_told=now)
        tell(turn, _ending(trouble), "the guest has been told of the error, and runs on")


def _is_damaged(turn: Turn, disk: str) -> bool:
    return f"{CORRUPTED}: {disk}" in turn.launch.seen


def _disk(event: Happened) -> str:
    """The id of the disk that an event is about, or QEMU's name for it."""
    for key in ("node-name", "qom-path", "device"):
        name = event.data.get(key)
        if isinstance(name, str) and name:
            # Of a virtio disk QEMU names the part that has the image, below the device.
            parts = name[:200].split("/")
            ours = (
                part.removeprefix(prefix) for part in parts for prefix in PREFIXES if part.startswith(prefix)
            )
            return next(ours, parts[-1])
    return "of QEMU's own"


def _ending(trouble: DiskTrouble | None) -> Ending:
    if trouble is None:
        return Ending(Cause.IO_ERROR, "QEMU stopped it at an I/O error")
    if trouble.no_space:
        return Ending(Cause.NO_SPACE, f"the host has no room for the disk {trouble.node}")
    return Ending(Cause.IO_ERROR, f"the disk {trouble.node} met an error at a {trouble.operation}")


def stopped(turn: Turn) -> None:
    """QEMU has stopped the vCPUs at a disk's error."""
    if turn.state.phase is Phase.PAUSED and turn.state.ill is not None:
        return
    ending, launch = _ending(turn.launch.disk), turn.launch
    calm = launch.retried is None or turn.env.now - launch.retried > CALM_AFTER
    turn.set_launch(retries=0 if calm else launch.retries)
    verdict = react(ending.cause, turn.env.spec.restart)
    if ending.cause is Cause.IO_ERROR and verdict.reaction is Reaction.IGNORE:
        _try_again(turn, ending, verdict)
        return
    respond(turn, ending, over=verdict.reaction is not Reaction.PAUSE)
    if verdict.reaction is Reaction.PAUSE:
        turn.set(ill=Ill(ending.cause, ending.detail, turn.env.now))


def _try_again(turn: Turn, ending: Ending, verdict: Verdict) -> None:
    wait = pause(turn.launch.retries)
    if turn.launch.retries == 0:
        tell(turn, ending, f"{verdict.rule}: it is let go on in {wait:g} s, and later each time")
    turn.set(ill=Ill(ending.cause, ending.detail, turn.env.now))
    turn.enter(Phase.PAUSED, f"{ending.cause}: {ending.detail}; it is let go on in {wait:g} s")
    turn.do(Arm(CALM, wait))


def pause(retries: int) -> float:
    """Seconds to wait before a guest is let go on for the ``retries + 1``-th time."""
    return float(min(FIRST_WAIT * 2.0 ** min(retries, 16), LAST_WAIT))


def go_on(turn: Turn) -> None:
    """Let the guest go on; whether its trouble is over will show."""
    ill = turn.state.ill
    if turn.state.phase is Phase.PAUSED and ill is not None and ill.cause in STOPS:
        turn.set_launch(retries=turn.launch.retries + 1, retried=turn.env.now)
        turn.qmp("cont")


def resumed(turn: Turn) -> None:
    """It runs again, whoever has seen to that."""
    if turn.state.ill is not None and turn.state.ill.cause in STOPS:
        recovered(turn, "its vCPUs run again")


def space(turn: Turn, detail: str) -> None:
    """There is room again."""
    ill = turn.state.ill
    if ill is not None and ill.cause is Cause.NO_SPACE:
        turn.notice(f"{Cause.NO_SPACE}: {detail}")
        go_on(turn)


def corrupted(turn: Turn, event: Happened) -> None:
    """QEMU met damage in an image. If it is fatal, the guest has no such disk any more."""
    message = event.data.get("msg")
    said = f": {message[:200]}" if isinstance(message, str) else ""
    ending = Ending(Cause.IMAGE_CORRUPT, f"the image of the disk {_disk(event)} is damaged{said}")
    if event.data.get("fatal") is True:
        told = _is_damaged(turn, _disk(event))
        turn.saw(f"{CORRUPTED}: {_disk(event)}")
        turn.set(ill=Ill(ending.cause, ending.detail, turn.env.now))
        if not (event.late and told):
            respond(turn, ending, over=False)
    else:
        tell(turn, ending, "QEMU goes on without harm to it")
