"""What a fire drill should come to, by the guest's own file: written down before it, compared afterwards. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.cause import FAILURES, Cause
from qsup.errors import Refused
from qsup.guest.policy import UNRULED, react
from qsup.phase import Phase
from qsup.spec.policy import Reaction
from qsup.spec.tables.hang import Stage
from qsup.spec.tables.nic import NicType
from qsup.spec.tables.share import ShareType
from qsup.vitals.stillness import FIRMWARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.model import GuestSpec


class Kind(StrEnum):
    """What can be done to a guest in a drill."""

    KILL = "kill"
    STOP_QEMU = "stop-qemu"
    PANIC = "panic"
    HANG = "hang"
    TRIPLE_FAULT = "triple-fault"
    ENOSPC = "enospc"
    HELPER = "helper"


AT_ONCE: Final = 1.0
"""Seconds within which what QEMU or the kernel tells is noticed; usually it takes milliseconds."""
DEED: Final = 15.0
"""Seconds that a guest may take to do what it is told: panic, write to its disk."""
TOLERANCE: Final = 0.1
"""The share of a timeout in ``[hang]`` by which it may be missed."""
REPLACED: Final = "a new one takes its place"
RESET_ALREADY: Final = "QEMU has reset it already"
MARGIN: Final = 20.0
"""Seconds that a start may take beside the delays that the file sets."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of one drill. Times are seconds."""

    kind: Kind
    cause: Cause | None
    """None where nothing is wrong with the guest: a passt is replaced."""
    noticed: tuple[float, float]
    """Between when and when after the deed it should be noticed."""
    answer: str
    """The rule that should decide, in the words of the events."""
    bundle: bool
    """Whether a bundle should be made."""
    after: Phase
    """Where the guest should be in the end."""
    ready: bool
    anew: bool
    """Whether it should be another process then."""
    within: float
    """How long after the deed."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened; None for what has not."""

    noticed: float | None = None
    cause: str | None = None
    answer: str | None = None
    bundle: str | None = None
    phase: Phase
    ready: bool
    anew: bool
    settled: float | None = None
    """When it had come to where it was expected, or to rest elsewhere."""


class Row(msgspec.Struct, frozen=True):
    """One thing that was expected, and what was seen of it."""

    what: str
    expected: str
    seen: str
    ok: bool


def plan(kind: Kind, spec: GuestSpec, accel: str, up: float) -> Plan:
    """What is to be expected of a guest that booted ``up`` seconds ago.

    Raises Refused if the guest's file does not allow it or lacks what it needs.
    """
    if not spec.drill.allowed:
        raise Refused(f"{spec.name} allows no drills; write [drill] allowed = true in its file")
    if missing := _missing(kind, spec):
        raise Refused(f"{spec.name}: no drill {kind}: {missing}")
    match kind:
        case Kind.KILL:
            return _ended(kind, Cause.QEMU_SIGNAL, spec, (0.0, AT_ONCE))
        case Kind.PANIC:
            return _ended(kind, Cause.GUEST_PANIC, spec, (0.0, DEED))
        case Kind.TRIPLE_FAULT:
            # Under KVM nobody tells a triple fault from a reset.
            cause = Cause.TRIPLE_FAULT if accel == "tcg" else Cause.GUEST_RESET
            return _ended(kind, cause, spec, (0.0, DEED))
        case Kind.ENOSPC:
            return _ended(kind, Cause.NO_SPACE, spec, (0.0, DEED))
        case Kind.HELPER:
            return _helper(spec)
        case Kind.STOP_QEMU:
            return _hung(kind, Cause.QEMU_STOPPED, spec, float(spec.hang.qemu_timeout), spec.hang.qemu_stages)
        case Kind.HANG:
            made = _hung(kind, Cause.GUEST_HUNG, spec, float(spec.hang.guest_timeout), spec.hang.guest_stages)
            # Nothing is held against a guest that may be in its firmware.
            return later(made, max(0.0, FIRMWARE - up))


def later(plan: Plan, grace: float) -> Plan:
    """The plan for a guest of which nothing is noticed in the first seconds."""
    earliest, latest = plan.noticed
    noticed = (earliest, latest + grace * (1 + TOLERANCE))
    return msgspec.structs.replace(plan, noticed=noticed, within=plan.within + grace)


def _missing(kind: Kind, spec: GuestSpec) -> str | None:
    """What the drill needs and the guest's file has not."""
    match kind:
        case Kind.STOP_QEMU if not spec.hang.qemu_timeout:
            return 'hang.qemu-timeout is "0 s": nobody would notice'
        case Kind.HANG if not spec.hang.guest_timeout:
            return 'hang.guest-timeout is "0 s": nobody would notice'
        case Kind.HANG if spec.drill.hang is None:
            return "drill.hang does not say what to type"
        case Kind.TRIPLE_FAULT if spec.drill.triple_fault is None:
            return "drill.triple-fault does not say what to type"
        case Kind.PANIC if spec.drill.panic is None and not spec.agent.enabled:
            return "drill.panic does not say what to type, and there is no guest agent to ask"
        case Kind.PANIC if not spec.panic.enabled:
            return "without [panic] enabled = true QEMU is not told of a panic"
        case Kind.ENOSPC if not any(not disk.read_only and disk.file for disk in spec.disk.values()):
            return "it has no disk in a file that it can write to"
        case Kind.HELPER if lasting_helper(spec) is None and passt_helper(spec) is None:
            return "it has no helper"
        case _:
            return None


def _ended(kind: Kind, cause: Cause, spec: GuestSpec, noticed: tuple[float, float]) -> Plan:
    verdict = react(cause, spec.restart)
    made = _plan(kind, cause, spec, noticed, verdict.rule, verdict.reaction)
    if cause in UNRULED and verdict.reaction is Reaction.RESET and UNRULED[cause].rule in verdict.rule:
        return msgspec.structs.replace(made, answer=RESET_ALREADY, bundle=False)
    return made


def _helper(spec: GuestSpec) -> Plan:
    """A helper that QEMU cannot do without; a passt is replaced, and nothing is wrong with the guest then."""
    if lasting_helper(spec) is not None:
        return _ended(Kind.HELPER, Cause.HELPER_DIED, spec, (0.0, AT_ONCE))
    made = _plan(Kind.HELPER, Cause.OPERATOR, spec, (0.0, AT_ONCE), REPLACED, Reaction.RESET)
    return msgspec.structs.replace(made, cause=None, bundle=False)


def lasting_helper(spec: GuestSpec) -> str | None:
    """The name of a helper that cannot be replaced under QEMU, if the guest has one."""
    if spec.tpm.enabled:
        return "tpm"
    return next(
        (f"share-{name}" for name, share in spec.share.items() if share.type is ShareType.VIRTIOFS), None
    )


def passt_helper(spec: GuestSpec) -> str | None:
    """The name of a helper that is replaced, if the guest has one."""
    return next((f"net-{name}" for name, nic in spec.nic.items() if nic.type is NicType.PASST), None)


def _hung(kind: Kind, cause: Cause, spec: GuestSpec, timeout: float, stages: tuple[Stage, ...]) -> Plan:
    """A hang is noticed when its timeout has passed; then the stages are gone through until one helps."""
    noticed = (timeout * (1 - TOLERANCE), timeout * (1 + TOLERANCE))
    told = f"to be done: {', '.join(stages) or 'nothing'}"
    cures = Stage.CONTINUE in stages if cause is Cause.QEMU_STOPPED else Stage.RESET in stages
    if cures:
        reaction = Reaction.RESET
    elif Stage.KILL in stages or Stage.QUIT in stages:
        reaction = react(cause, spec.restart).reaction
    else:
        reaction = Reaction.IGNORE
    made = _plan(kind, cause, spec, noticed, told, reaction)
    waits = noticed[1] + float(spec.hang.stage_wait) * len(stages)
    return msgspec.structs.replace(made, bundle=Stage.EVIDENCE in stages, within=made.within + waits)


def _plan(
    kind: Kind, cause: Cause, spec: GuestSpec, noticed: tuple[float, float], answer: str, reaction: Reaction
) -> Plan:
    restarts = reaction is Reaction.RESTART
    after = {
        Reaction.RESTART: Phase.RUNNING,
        Reaction.RESET: Phase.RUNNING,
        Reaction.STOP: Phase.STOPPED,
        Reaction.PAUSE: Phase.PAUSED,
        Reaction.IGNORE: Phase.RUNNING,
    }[reaction]
    if cause is Cause.NO_SPACE and reaction is Reaction.PAUSE:
        # There is room again as soon as it was noticed, so it goes on by itself.
        after = Phase.RUNNING
    standing = reaction in (Reaction.PAUSE, Reaction.RESET)
    return Plan(
        kind=kind,
        cause=cause,
        noticed=noticed,
        answer=answer,
        bundle=cause in FAILURES and (reaction in (Reaction.RESTART, Reaction.STOP) or standing),
        after=after,
        ready=after is Phase.RUNNING and reaction is not Reaction.IGNORE,
        anew=restarts,
        within=noticed[1] + _time(spec, reaction),
    )


def _time(spec: GuestSpec, reaction: Reaction) -> float:
    """How long it may take from the answer until the guest is where it should be."""
    stop = float(spec.stop.timeout) + 15.0
    delay = float(spec.restart.max_delay)
    ready = float(spec.ready.timeout) if spec.ready.check != "running" else 0.0
    return MARGIN + (stop + delay + ready if reaction is not Reaction.IGNORE else 0.0)


def compare(plan: Plan, seen: Seen) -> tuple[Row, ...]:
    """What was expected against what was seen."""
    return tuple(_rows(plan, seen))


def _rows(plan: Plan, seen: Seen) -> Iterator[Row]:
    earliest, latest = plan.noticed
    on_time = seen.noticed is not None and earliest <= seen.noticed <= latest
    window = f"{earliest:g} to {latest:g} s" if earliest else f"within {latest:g} s"
    yield Row("noticed", window, _seconds(seen.noticed), on_time)
    yield Row("cause", plan.cause or "none", seen.cause or "none", seen.cause == plan.cause)
    answered = seen.answer is not None and plan.answer in seen.answer
    yield Row("answer", plan.answer, seen.answer or "none", answered)
    made = seen.bundle is not None
    yield Row("bundle", "one" if plan.bundle else "none", seen.bundle or "none", made == plan.bundle)
    there = (seen.phase, seen.anew) == (plan.after, plan.anew) and (seen.ready or not plan.ready)
    yield Row(
        "then", _place(plan.after, plan.ready, plan.anew), _place(seen.phase, seen.ready, seen.anew), there
    )
    settled = seen.settled is not None and seen.settled <= plan.within
    yield Row("there", f"within {plan.within:g} s", _seconds(seen.settled), settled)


def _place(phase: Phase, ready: bool, anew: bool) -> str:
    return f"{phase}{' and ready' * ready}{', another process' if anew else ''}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "not"
    return f"after {seconds * 1000:.1f} ms" if seconds < 1 else f"after {seconds:.2f} s"
