"""What follows from the end of a run: pure decisions from the guest's ``[restart]`` table.

The order of authority: an operator's wish, then the rule for the cause in ``[restart.on]``, then the policy.
"""

from __future__ import annotations

from typing import Final

import msgspec

from qsup.cause import FAILURES, Cause
from qsup.spec.policy import Reaction, Restart, RestartPolicy
from qsup.units import Duration

JITTER: Final = 0.25
"""A delay is shortened by up to this share, so that guests that fell together do not rise together."""


class Verdict(msgspec.Struct, frozen=True):
    """A reaction and, in words, the rule that chose it."""

    reaction: Reaction
    rule: str


UNRULED: Final = {
    Cause.OPERATOR: Verdict(Reaction.STOP, "an operator wanted it"),
    Cause.HOST_SHUTDOWN: Verdict(Reaction.STOP, "it is started again as the host comes up"),
    Cause.GUEST_RESET: Verdict(Reaction.RESET, "the reset itself is the cure"),
    Cause.TRIPLE_FAULT: Verdict(Reaction.RESET, "the reset itself is the cure"),
    Cause.WATCHDOG: Verdict(Reaction.RESET, "the reset itself is the cure"),
    Cause.GUEST_CRASHLOADED: Verdict(Reaction.IGNORE, "its crash kernel is left to write its dump"),
    Cause.IO_ERROR: Verdict(Reaction.PAUSE, "mend its storage, then `qsup resume`"),
    Cause.NO_SPACE: Verdict(Reaction.PAUSE, "it goes on by itself once there is space"),
    Cause.IMAGE_CORRUPT: Verdict(Reaction.PAUSE, "it waits for somebody to look at the image"),
}
"""What is done about a cause without a rule, whatever the policy."""
MENDABLE: Final = frozenset({Cause.REBOOT_LOOP, Cause.GUEST_UNHEALTHY, Cause.START_TIMEOUT})
"""Causes at which the guest still runs: a policy that restarts nothing leaves it alone."""


class Decision(msgspec.Struct, frozen=True):
    """What happens after an end: ``restart`` in ``delay`` seconds, ``stop``, or ``give up``."""

    restart: bool
    rule: str
    delay: float = 0.0
    gave_up: bool = False


def react(cause: Cause, policy: RestartPolicy) -> Verdict:
    """What the guest's file wants done about a cause."""
    rule: Reaction | None = getattr(policy.on, cause.value.replace("-", "_"), None)
    if rule is not None:
        return Verdict(rule, f'restart.on.{cause} = "{rule}"')
    if cause in UNRULED:
        usual = UNRULED[cause]
        return Verdict(usual.reaction, f"no rule for {cause}: {usual.rule}")
    wants = policy.policy is Restart.ALWAYS or (policy.policy is Restart.ON_FAILURE and cause in FAILURES)
    without = Reaction.IGNORE if cause in MENDABLE else Reaction.STOP
    return Verdict(Reaction.RESTART if wants else without, f'restart.policy = "{policy.policy}"')


def decide(
    cause: Cause, policy: RestartPolicy, failures: tuple[float, ...], streak: int, jitter: float
) -> Decision:
    """Whether and when to start again; ``failures`` and ``streak`` count the present end already.

    ``failures`` are the times within the window, ``jitter`` is a number from 0 up to 1.
    """
    verdict = react(cause, policy)
    if verdict.reaction is not Reaction.RESTART:
        return Decision(restart=False, rule=f"{verdict.rule}: stay off")
    if policy.limit and len(failures) >= policy.limit:
        return Decision(
            restart=False,
            gave_up=True,
            rule=f"{verdict.rule}, but the {len(failures)} ends within {policy.window}"
            f" reach restart.limit = {policy.limit}: give up",
        )
    pause = delay(policy, streak, jitter)
    when = f"in {Duration(round(pause, 2))}" if pause else "at once"
    return Decision(restart=True, delay=pause, rule=f"{verdict.rule}: restart {when}")


def delay(policy: RestartPolicy, streak: int, jitter: float) -> float:
    """Seconds before the restart after the ``streak``-th failure in a row (1 is the first)."""
    doublings = min(max(streak, 1) - 1, 32)
    return float(min(policy.delay * 2.0**doublings, policy.max_delay)) * (1 - JITTER * jitter)


def within_window(failures: tuple[float, ...], policy: RestartPolicy, now: float) -> tuple[float, ...]:
    """The failures that still count; the oldest go first, and never more are kept than the limit needs."""
    recent = tuple(at for at in failures if now - at <= policy.window)
    return recent[-(policy.limit or 1) :]
