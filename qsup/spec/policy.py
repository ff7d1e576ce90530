"""When a guest is started again, and how it is stopped; declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from qsup.spec.base import Section
from qsup.units import Duration


class Restart(StrEnum):
    """When a guest whose run ended by itself is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Reaction(StrEnum):
    """What a rule in ``[restart.on]`` can ask for."""

    RESTART = "restart"
    RESET = "reset"
    STOP = "stop"
    PAUSE = "pause"
    IGNORE = "ignore"


class RestartOn(Section, frozen=True, kw_only=True):
    """Rules for single causes, over the policy: `[restart.on]`."""

    guest_shutdown: Annotated[
        Reaction | None,
        Meta(
            description="The guest powered itself off: `restart`, `reset`, `stop` or `pause` (kept for inspection)."
        ),
    ] = None
    guest_panic: Annotated[
        Reaction | None,
        Meta(
            description="The guest's kernel panicked: `restart`, `reset`, `stop`, `pause` (kept for inspection) or `ignore` (runs on)."
        ),
    ] = None
    guest_reset: Annotated[
        Reaction | None,
        Meta(
            description="The guest reset itself. QEMU has reset it already, so without a rule it runs on: `restart` or `stop` change that."
        ),
    ] = None
    triple_fault: Annotated[
        Reaction | None,
        Meta(
            description="A vCPU met a triple fault (told from a reset under TCG only): `restart` or `stop`; without a rule as `guest-reset`."
        ),
    ] = None
    qemu_exit: Annotated[Reaction | None, Meta(description="QEMU exited by itself: `restart` or `stop`.")] = (
        None
    )
    qemu_signal: Annotated[Reaction | None, Meta(description="A signal ended QEMU: `restart` or `stop`.")] = (
        None
    )
    kvm_internal_error: Annotated[
        Reaction | None,
        Meta(
            description="KVM cannot go on with a vCPU (run state `internal-error`): `restart`, `reset`, `stop` or `pause`."
        ),
    ] = None
    start_failed: Annotated[
        Reaction | None, Meta(description="QEMU could not be started: `restart` or `stop`.")
    ] = None


class RestartPolicy(Section, frozen=True, kw_only=True):
    """When the guest is started again, how soon and how often."""

    policy: Annotated[
        Restart,
        Meta(
            description="`always`; `on-failure`: unless the guest powered itself off; `never`. An operator's stop is always respected."
        ),
    ] = Restart.ON_FAILURE
    delay: Annotated[
        Duration,
        Meta(
            description="The wait before the first restart. It doubles with each failure in a row, with jitter."
        ),
    ] = Duration.parse("1 s")
    max_delay: Annotated[Duration, Meta(description="The wait never grows beyond this.")] = Duration.parse(
        "60 s"
    )
    limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="With this many failures within `window` the guest is given up until `qsup start`; 0 never gives up.",
        ),
    ] = 5
    window: Annotated[Duration, Meta(description="How far back failures count.")] = Duration.parse("10 min")
    stable_after: Annotated[Duration, Meta(description="A run this long clears the count and the delay.")] = (
        Duration.parse("10 min")
    )
    on: RestartOn = RestartOn()


class StopMethod(StrEnum):
    """A way to ask the guest to power itself off."""

    AGENT = "agent"
    ACPI = "acpi"


class Stop(Section, frozen=True, kw_only=True):
    """How the guest is stopped: by asking, then by `quit`, SIGTERM and SIGKILL."""

    methods: Annotated[
        tuple[StopMethod, ...],
        Meta(
            max_length=4,
            description="Asked in this order: `agent` (the guest agent's `guest-shutdown`), `acpi` (the power button).",
        ),
    ] = (StopMethod.AGENT, StopMethod.ACPI)
    repeat: Annotated[
        Duration, Meta(description="How long a method is waited for before the next, or the last once more.")
    ] = Duration.parse("10 s")
    timeout: Annotated[
        Duration, Meta(description="How long the guest has in all, before QEMU is told to quit.")
    ] = Duration.parse("90 s")
