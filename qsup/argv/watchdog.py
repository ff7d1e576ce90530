"""The watchdog device."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from qsup.argv.board import SLOT_WATCHDOG, Board
from qsup.argv.invocation import Option
from qsup.argv.quote import device, pairs
from qsup.errors import SpecError
from qsup.spec.policy import Reaction
from qsup.spec.tables.watchdog import WatchdogAction, WatchdogModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The device, and what follows when it fires."""
    watchdog = draft.spec.watchdog
    match watchdog.model:
        case WatchdogModel.NONE:
            return
        case WatchdogModel.I6300ESB:
            yield device({**draft.board.pci("i6300esb", SLOT_WATCHDOG), "id": "watchdog"})
        case WatchdogModel.IB700:
            yield device({"driver": "ib700", "id": "watchdog"})
        case WatchdogModel.ITCO:
            if draft.board is not Board.Q35:
                raise SpecError('watchdog.model = "itco" is a part of the q35 board; use "i6300esb"')
            # The board has it in any case; older machine types do not let it do anything.
            yield Option("-global", pairs(driver="ICH9-LPC", property="noreboot", value=False))
        case never:
            assert_never(never)
    yield Option("-action", pairs(watchdog=_action(draft)))


def _action(draft: Draft) -> WatchdogAction:
    """A rule for the cause wins over the device's own action: QEMU stands still then, and the supervisor decides.

    It stands still as well where it would power the machine off, which it does without a word to anybody.
    """
    match draft.spec.restart.on.watchdog:
        case None if draft.spec.watchdog.action is WatchdogAction.POWEROFF:
            return WatchdogAction.PAUSE
        case None:
            return draft.spec.watchdog.action
        case Reaction.RESET:
            return WatchdogAction.RESET
        case Reaction.IGNORE:
            return WatchdogAction.NONE
        case _:
            return WatchdogAction.PAUSE
