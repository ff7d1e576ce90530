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

INTERNAL: Final = frozenset({Cause.GUEST_RESET, Cause.TRIPLE_FAULT})
"""Causes after which QEMU goes on by itself unless a rule forbids it."""


class Verdict(msgspec.Struct, frozen=True):
    """A reaction and, in words, the rule that chose it."""

    reaction: Reaction
    rule: str


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
    if cause in INTERNAL:
        return Verdict(Reaction.RESET, f"no rule for {cause}: the reset itself is the cure")
    wants = policy.policy is Restart.ALWAYS or (policy.policy is Restart.ON_FAILURE and cause in FAILURES)
    return Verdict(
        Reaction.RESTART if wants and cause is not Cause.OPERATOR else Reaction.STOP,
        f'restart.policy = "{policy.policy}"',
    )


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
