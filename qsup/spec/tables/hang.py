"""How a QEMU or a guest that hangs is noticed, and what is done then. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, Section, about, within
from qsup.spec.problem import quoted
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stage(StrEnum):
    """One thing to try with something that hangs."""

    EVIDENCE = "evidence"
    CONTINUE = "continue"
    AGENT = "agent"
    NMI = "nmi"
    RESET = "reset"
    QUIT = "quit"
    KILL = "kill"


QEMU_STAGES: Final = (Stage.EVIDENCE, Stage.CONTINUE, Stage.QUIT, Stage.KILL)
"""What can be done to a QEMU that answers nothing."""
GUEST_STAGES: Final = (Stage.EVIDENCE, Stage.AGENT, Stage.NMI, Stage.RESET, Stage.QUIT, Stage.KILL)
"""What can be done to a guest in a QEMU that is well."""


class Hang(Section, frozen=True, kw_only=True):
    """How a QEMU or a guest that hangs is noticed, and what is done about it, stage by stage until it is well again."""

    qemu_timeout: Annotated[
        Duration,
        about(
            "A QEMU that has not answered over QMP for so long is `qemu-stopped`, `qemu-hung`, or waits for the host's storage; `0 s` never asks."
        ),
    ] = Duration.parse("1 min")
    qemu_stages: Annotated[
        tuple[Stage, ...],
        about(
            "What is done then: `evidence` (a bundle for `qsup crashes`), `continue` (SIGCONT for a stopped one), `quit` (SIGTERM), `kill` (SIGKILL; then `[restart.on]` decides). Nothing but `evidence` while it waits for storage.",
            max_length=8,
        ),
    ] = (Stage.EVIDENCE, Stage.CONTINUE, Stage.QUIT, Stage.KILL)
    guest_timeout: Annotated[
        Duration,
        about(
            "A guest none of whose vCPUs takes interrupts any more for so long is `guest-hung`: each rests for good or, which only KVM's counters can prove, runs in a circle, and no disk is used; `0 s` never looks.",
        ),
    ] = Duration.parse("5 min")
    guest_stages: Annotated[
        tuple[Stage, ...],
        about(
            "What is done then: `evidence`, `agent` (its `guest-shutdown` in reboot mode), `nmi`, `reset`, `quit`, `kill`. Guests that rest with interrupts off look the same, so without a wish of yours it is only told.",
            max_length=8,
        ),
    ] = (Stage.EVIDENCE,)
    stage_wait: Annotated[Duration, about("How long each stage has before the next.")] = Duration.parse(
        "15 s"
    )

    def wrong(self) -> Iterator[Finding]:
        """Durations that are out of range, and stages that are no help."""
        for key in ("qemu-timeout", "guest-timeout"):
            value: Duration = getattr(self, key.replace("-", "_"))
            if value:
                yield from within(key, value, "1 s", "1 d")
        yield from within("stage-wait", self.stage_wait, "100 ms", "1 h")
        yield from _stages("qemu-stages", self.qemu_stages, QEMU_STAGES)
        yield from _stages("guest-stages", self.guest_stages, GUEST_STAGES)


def _stages(key: str, stages: tuple[Stage, ...], allowed: tuple[Stage, ...]) -> Iterator[Finding]:
    """Each is tried once, in an order in which the one before leaves something for the next."""
    for number, stage in enumerate(stages):
        if stage not in allowed:
            yield (key, number), f'"{stage}" is no help here; allowed: {quoted(allowed)}'
        elif stage in stages[:number]:
            yield (key, number), f'"{stage}" stands there twice'
        elif Stage.KILL in stages[:number]:
            yield (key, number), f'"{stage}" comes after "kill", which leaves nothing'
