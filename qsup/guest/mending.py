"""What follows from the end of a helper under a living QEMU.

A passt is replaced: QEMU goes on accepting on its socket, so a new one takes the place of the old, and the guest has
lost its connections but not its network. QEMU cannot reconnect to a swtpm or a virtiofsd: the one had the guest's
open TPM sessions in its memory, the other its open files. Then the rule for ``helper-died`` decides, and without one
the policy. The guest itself is still well, so it is shut down like one that an operator stops, not cut off.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from qsup.cause import Cause
from qsup.guest.effects import Arm, Signal, StartHelper
from qsup.guest.response import respond
from qsup.guest.state import OVER, Ending
from qsup.guest.turn import HELPERS
from qsup.phase import Phase

if TYPE_CHECKING:
    from qsup.guest.inputs import HelperExited
    from qsup.guest.turn import Turn

FIRST_DELAY: Final = 1.0
"""Seconds before a helper is started anew that has ended again; they double up to the last."""
LAST_DELAY: Final = 30.0
"""QEMU does not see that a passt has gone while it keeps a packet for a NIC that its guest has not set up yet, or a
guest that is paused; until then a new one may find no room to wait in. So it is tried again without end."""
CALM: Final = 120.0
"""Seconds after which the next end counts as the first again."""


def helper_exited(turn: Turn, exited: HelperExited) -> None:
    """A helper has ended: the start fails, or a new one takes its place, or the guest's policy is applied."""
    state = turn.state
    if state.launch is None or state.phase is Phase.STOPPING:
        return
    detail = _detail(exited)
    if state.phase is Phase.STARTING and not state.launch.adopted:
        turn.set(ending=Ending(Cause.START_FAILED, f"before the guest ran, {detail}"))
        turn.do(Signal(signal.SIGKILL))
    elif exited.replaceable:
        _replace(turn, exited.name, detail)
    else:
        _bereaved(turn, detail)


def _detail(exited: HelperExited) -> str:
    """What is known of its end; the words of one that a signal ended are about something else."""
    if not exited.started:
        return f"the helper {exited.name} cannot be started: {exited.stderr}"
    killed = exited.status is not None and exited.status.how == "signal"
    lines = [line.strip() for line in exited.stderr.splitlines() if line.strip()]
    said = f", its last words: {lines[-1][:300]}" if lines and not killed else ""
    return f"the helper {exited.name} ended ({exited.status or 'status unknown'}){said}"


def _replace(turn: Turn, name: str, detail: str) -> None:
    launch, now = turn.launch, turn.env.now
    calm = launch.helper_ended is None or now - launch.helper_ended > CALM
    ends = 1 if calm else launch.helper_ends + 1
    turn.set_launch(helper_ends=ends, helper_ended=now)
    if ends == 1:
        turn.notice(f"{detail}; a new one takes its place")
        turn.do(StartHelper(name))
        return
    delay = min(FIRST_DELAY * 2.0 ** min(ends - 2, 16), LAST_DELAY)
    turn.notice(f"{detail}; a new one takes its place in {delay:g} s")
    if name not in launch.helpers_down:
        turn.set_launch(helpers_down=(*launch.helpers_down, name))
    turn.do(Arm(HELPERS, delay))


def start_anew(turn: Turn) -> None:
    """The delay before the next try is over."""
    if turn.state.launch is None:
        return
    down = turn.launch.helpers_down
    turn.set_launch(helpers_down=())
    turn.do(*(StartHelper(name) for name in down))


def _bereaved(turn: Turn, detail: str) -> None:
    if turn.state.run_state in OVER:
        turn.notice(f"{Cause.HELPER_DIED}: {detail}; its guest had ended before, and is kept as it is")
    else:
        respond(turn, Ending(Cause.HELPER_DIED, detail), over=False)
