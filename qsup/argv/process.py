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
from qsup.spec.tables.nic import NicType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec

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
    yield Option("-sandbox", _sandbox(draft))
    yield Option("-action", _actions(draft))
    yield Option("-msg", pairs(timestamp=True))
    if draft.accel is Accel.TCG:
        yield from _log(draft)


def _sandbox(draft: Draft) -> str:
    """The strict system call filter.

    QEMU starts the bridge helper itself, as its network is set up, when the filter is in force already: without
    spawn=allow it dies of SIGSYS. To let it elevate privileges as well would bring nothing: a seccomp filter
    sets no_new_privs, under which a set-uid helper stays without privileges. So `bridge` works for a QEMU that
    runs as root; any other is given a tap interface that is its own.
    """
    helper = any(nic.type is NicType.BRIDGE for nic in draft.spec.nic.values())
    return pairs(
        "on",
        obsolete="deny",
        elevateprivileges="deny",
        spawn="allow" if helper else "deny",
        resourcecontrol="deny",
    )


def _actions(draft: Draft) -> str:
    """QEMU stands still at an end, so that it can still be asked for it; what follows is the supervisor's decision.

    A reset is no end unless a rule makes it one: then QEMU takes it for a shutdown, which stands still too.
    """
    on = draft.spec.restart.on
    leave = {None, Reaction.IGNORE, Reaction.RESET}
    return pairs(
        reboot="reset" if {on.guest_reset, on.triple_fault} <= leave else "shutdown",
        shutdown="pause",
        panic="none" if on.guest_panic is Reaction.IGNORE else "pause",
    )


def _log(draft: Draft) -> Iterator[Option]:
    """QMP calls a triple fault a reset like any other; TCG's log names it, in the line before.

    It costs nothing at start, and about 1.3 KB for each reset of a vCPU. KVM writes nothing of the kind.
    """
    path = posixpath.join(draft.context.run_dir, QEMU_LOG)
    if "%" in path:
        raise SpecError(
            f"QEMU cannot write its log to {path}: it would expand the '%'; choose another --runtime-dir"
        )
    yield Option("-d", "cpu_reset")
    yield Option("-D", path)
