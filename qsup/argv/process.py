"""How the QEMU process itself behaves: who it is, what it may do, what it does when the guest ends."""

from __future__ import annotations

import posixpath
import uuid
from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import QEMU_LOG, Option
from qsup.argv.quote import pairs
from qsup.errors import SpecError
from qsup.spec.policy import Reaction
from qsup.spec.tables.machine import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec

DENIED: Final = ("obsolete", "elevateprivileges", "spawn", "resourcecontrol")
"""What the system call filter keeps QEMU from, all that it can: what needs it is done before QEMU is there."""
GUESTS: Final = uuid.UUID("7c0d9d1c-3a0b-5f3e-9d3f-6a1f5e6b7a10")
"""The namespace of the UUIDs that guests have by their names (RFC 4122, version 5). Changing it changes them all."""


def uuid_of(spec: GuestSpec) -> str:
    """The UUID of a guest's machine."""
    return spec.uuid or str(uuid.uuid5(GUESTS, spec.name))


def options(draft: Draft) -> Iterator[Option]:
    """Start from nothing and with the vCPUs standing; die of nothing that the supervisor has not asked for."""
    yield Option("-no-user-config")
    yield Option("-nodefaults")
    yield Option("-S")
    yield Option("-name", pairs(guest=draft.spec.name, debug_threads=True))
    yield Option("-uuid", uuid_of(draft.spec))
    yield Option("-sandbox", pairs("on", **dict.fromkeys(DENIED, "deny")))
    yield Option("-action", _actions(draft))
    yield Option("-msg", pairs(timestamp=True))
    yield from _log(draft)


def _actions(draft: Draft) -> str:
    """QEMU stands still at an end, so that it can still be asked for it; what follows is the supervisor's decision.

    A reset is no end unless a rule makes it one: then QEMU takes it for a shutdown, which stands still too.
    """
    on = draft.spec.restart.on
    return pairs(
        reboot="shutdown" if on.rests_at_reset else "reset",
        shutdown="pause",
        panic="none" if on.guest_panic is Reaction.IGNORE else "pause",
    )


def _log(draft: Draft) -> Iterator[Option]:
    """What QEMU's log tells and QMP does not, or not to a daemon that was not there.

    To QMP a triple fault is a reset like any other. TCG's log names it, in the line before; KVM writes nothing of the
    kind. It costs nothing at start, and about 1.3 KB for each reset of a vCPU. A guest that stands still after a
    reset has the same run state as one that powered itself off: QEMU traces a request for the latter only, and each
    change of the run state, of which a guest makes few.
    """
    path = posixpath.join(draft.context.run_dir, QEMU_LOG)
    tcg, rests = draft.accel is Accel.TCG, draft.spec.restart.on.rests_at_reset
    if not (tcg or rests):
        return
    if "%" in path:
        raise SpecError(
            f"QEMU cannot write its log to {path}: it would expand the '%'; choose another --runtime-dir"
        )
    if tcg:
        yield Option("-d", "cpu_reset")
    yield Option("-D", path)
    if rests:
        yield Option("-trace", "runstate_set")
        yield Option("-trace", "qemu_system_shutdown_request")
