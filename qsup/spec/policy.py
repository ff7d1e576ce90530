"""When a guest is started again, and how it is stopped; declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, Section, about, within
from qsup.spec.problem import quoted
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


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


_END: Final = frozenset({Reaction.RESTART, Reaction.STOP})
_STANDING: Final = _END | {Reaction.PAUSE}
_MACHINE: Final = _STANDING | {Reaction.RESET}
REACTIONS: Final[dict[str, frozenset[Reaction]]] = {
    "guest-shutdown": _MACHINE,
    "guest-reset": frozenset(Reaction),
    "reboot-loop": _STANDING | {Reaction.IGNORE},
    "guest-panic": frozenset(Reaction),
    "guest-crashloaded": frozenset(Reaction),
    "watchdog": frozenset(Reaction),
    "triple-fault": frozenset(Reaction),
    "guest-hung": _END,
    "guest-unhealthy": frozenset(Reaction),
    "qemu-exit": _END,
    "qemu-signal": _END,
    "qemu-abort": _END,
    "qemu-hung": _END,
    "qemu-stopped": _END,
    "qmp-lost": _END,
    "kvm-internal-error": _MACHINE,
    "out-of-memory": _END,
    "io-error": frozenset(Reaction),
    "no-space": _MACHINE,
    "image-corrupt": frozenset(Reaction),
    "helper-died": _END | {Reaction.IGNORE},
    "start-failed": _END,
    "start-timeout": _END | {Reaction.IGNORE},
    "unknown": _END,
}
"""What can be done about a cause: nothing but a new process helps when the old one is gone."""
LEAST_ENDLESS_DELAY: Final = Duration.parse("100 ms")


class RestartOn(Section, frozen=True, kw_only=True):
    """Rules for single causes, over the policy: `[restart.on]`."""

    guest_shutdown: Annotated[
        Reaction | None,
        about("The guest powered itself off: `restart`, `reset`, `stop` or `pause` (kept for inspection)."),
    ] = None
    guest_reset: Annotated[
        Reaction | None,
        about(
            "The guest reset itself. QEMU has reset it already, so without a rule it runs on: `restart` or `stop` change that."
        ),
    ] = None
    reboot_loop: Annotated[
        Reaction | None,
        about(
            "The guest reset itself `limit` times within `window`: it is given up, unless `ignore` lets it go on, `stop` stops or `pause` keeps it."
        ),
    ] = None
    guest_panic: Annotated[
        Reaction | None,
        about(
            "The guest's kernel panicked: `restart`, `reset`, `stop`, `pause` (kept for inspection) or `ignore` (runs on)."
        ),
    ] = None
    guest_crashloaded: Annotated[
        Reaction | None,
        about(
            "The guest's kernel panicked and its crash kernel took over: without a rule it is left to write its dump, and the reset after that is the failure."
        ),
    ] = None
    watchdog: Annotated[
        Reaction | None,
        about(
            "The guest did not feed its watchdog: any reaction, over `watchdog.action`; without a rule that one."
        ),
    ] = None
    triple_fault: Annotated[
        Reaction | None,
        about(
            "A vCPU met a triple fault (told from a reset under TCG only): `restart` or `stop`; without a rule as `guest-reset`."
        ),
    ] = None
    guest_hung: Annotated[
        Reaction | None,
        about(
            "The guest made no progress, and the last of `hang.guest-stages` ended its QEMU: `restart` or `stop`."
        ),
    ] = None
    guest_unhealthy: Annotated[
        Reaction | None,
        about(
            "A check in `[[health]]` failed as often as it may: `restart` and `stop` shut the guest down first, as `[stop]` says; or `reset`, `pause`, `ignore`."
        ),
    ] = None
    qemu_exit: Annotated[Reaction | None, about("QEMU exited by itself: `restart` or `stop`.")] = None
    qemu_signal: Annotated[Reaction | None, about("A signal ended QEMU: `restart` or `stop`.")] = None
    qemu_abort: Annotated[Reaction | None, about("QEMU aborted: `restart` or `stop`.")] = None
    qemu_hung: Annotated[
        Reaction | None,
        about("QEMU answered nothing, and the last of `hang.qemu-stages` ended it: `restart` or `stop`."),
    ] = None
    qemu_stopped: Annotated[
        Reaction | None,
        about(
            "QEMU was stopped by a signal, and the last of `hang.qemu-stages` ended it: `restart` or `stop`."
        ),
    ] = None
    qmp_lost: Annotated[
        Reaction | None,
        about(
            "QEMU lived without a QMP session, and the last of `hang.qemu-stages` ended it: `restart` or `stop`."
        ),
    ] = None
    kvm_internal_error: Annotated[
        Reaction | None,
        about(
            "KVM cannot go on with a vCPU (run state `internal-error`): `restart`, `reset`, `stop` or `pause`."
        ),
    ] = None
    out_of_memory: Annotated[
        Reaction | None,
        about("The kernel killed QEMU for want of memory: `restart` or `stop`."),
    ] = None
    io_error: Annotated[
        Reaction | None,
        about(
            "A disk with `werror` or `rerror` = `stop` met an I/O error, and the guest stands still: without a rule it stays paused; `ignore` lets it try again, each time after a longer wait; or `restart`, `reset`, `stop`."
        ),
    ] = None
    no_space: Annotated[
        Reaction | None,
        about(
            "The host's disk is full, and the guest stands still: without a rule, or with `pause`, it goes on by itself once there is space; or `restart`, `reset`, `stop`."
        ),
    ] = None
    image_corrupt: Annotated[
        Reaction | None,
        about(
            "QEMU met damage in an image: without a rule the guest is paused; or `restart`, `reset`, `stop`, `ignore`."
        ),
    ] = None
    helper_died: Annotated[
        Reaction | None,
        about(
            "The guest's swtpm or a virtiofsd ended, to which QEMU cannot reconnect: `restart` and `stop` shut the guest down first, as `[stop]` says; with `ignore` it runs on without. A passt is always replaced in place."
        ),
    ] = None
    start_failed: Annotated[Reaction | None, about("QEMU could not be started: `restart` or `stop`.")] = None
    start_timeout: Annotated[
        Reaction | None,
        about(
            "The guest was not ready within `ready.timeout`, or QEMU did not answer within `qemu.start-timeout`: `restart`, `stop`, or `ignore` for a guest that is late."
        ),
    ] = None
    unknown: Annotated[
        Reaction | None,
        about("QEMU has gone and nobody knows how: `restart` or `stop`."),
    ] = None

    @property
    def rests_at_reset(self) -> bool:
        """Whether QEMU is to stand still at a guest's reset, so that the rule for it can be applied."""
        return not {self.guest_reset, self.triple_fault} <= {None, Reaction.IGNORE, Reaction.RESET}

    def wrong(self) -> Iterator[Finding]:
        """Reactions that come too late for their cause, or contradict each other."""
        for key, allowed in REACTIONS.items():
            reaction = getattr(self, key.replace("-", "_"))
            if reaction is not None and reaction not in allowed:
                words = quoted(member for member in Reaction if member in allowed)
                yield (key,), f'"{reaction}" is not possible after {key}; allowed: {words}'
        # QEMU cannot be told to stand still at one kind of reset only, and one that stands still cannot just go on.
        rules = {"guest-reset": self.guest_reset, "triple-fault": self.triple_fault}
        for key, other in (("guest-reset", "triple-fault"), ("triple-fault", "guest-reset")):
            if rules[key] is Reaction.IGNORE and rules[other] in _STANDING:
                told = f'"ignore" is not possible beside {other} = "{rules[other]}"'
                yield (key,), f'{told}: QEMU then stops at both; write "reset"'


class RestartPolicy(Section, frozen=True, kw_only=True):
    """When the guest is started again, how soon and how often."""

    policy: Annotated[
        Restart,
        about(
            "`always`; `on-failure`: unless the guest powered itself off; `never`. An operator's stop is always respected."
        ),
    ] = Restart.ON_FAILURE
    delay: Annotated[
        Duration,
        about("The wait before the first restart. It doubles with each failure in a row, with jitter."),
    ] = Duration.parse("1 s")
    max_delay: Annotated[Duration, about("The wait never grows beyond this.")] = Duration.parse("60 s")
    limit: Annotated[
        int,
        about(
            "With this many failures within `window` the guest is given up until `qsup start`; 0 never gives up.",
            ge=0,
            le=1000,
        ),
    ] = 5
    window: Annotated[Duration, about("How far back failures count.")] = Duration.parse("10 min")
    stable_after: Annotated[Duration, about("A run this long clears the count and the delay.")] = (
        Duration.parse("10 min")
    )
    on: RestartOn = RestartOn()

    def wrong(self) -> Iterator[Finding]:
        """Durations with which a guest would spin, or a wait would last for ever."""
        yield from within("delay", self.delay, "0 s", "1 d")
        yield from within("max-delay", self.max_delay, "0 s", "1 d")
        yield from within("window", self.window, "1 s", "365 d")
        yield from within("stable-after", self.stable_after, "1 s", "365 d")
        if self.max_delay < self.delay:
            yield ("max-delay",), f"{self.max_delay} is less than restart.delay, {self.delay}"
        if self.limit == 0 and self.delay < LEAST_ENDLESS_DELAY:
            least = f"at least {LEAST_ENDLESS_DELAY}"
            yield ("delay",), f"{self.delay} is too short for limit = 0, which never gives up; {least}"


class StopMethod(StrEnum):
    """A way to ask the guest to power itself off."""

    AGENT = "agent"
    ACPI = "acpi"


class Stop(Section, frozen=True, kw_only=True):
    """How the guest is stopped: by asking, then by `quit`, SIGTERM and SIGKILL."""

    methods: Annotated[
        tuple[StopMethod, ...],
        about(
            "Asked in this order: `agent` (the guest agent's `guest-shutdown`), `acpi` (the power button).",
            max_length=4,
        ),
    ] = (StopMethod.AGENT, StopMethod.ACPI)
    repeat: Annotated[
        Duration, about("How long a method is waited for before the next, or the last once more.")
    ] = Duration.parse("10 s")
    timeout: Annotated[Duration, about("How long the guest has in all, before QEMU is told to quit.")] = (
        Duration.parse("90 s")
    )

    def wrong(self) -> Iterator[Finding]:
        """Waits that make no sense."""
        yield from within("repeat", self.repeat, "100 ms", "1 d")
        yield from within("timeout", self.timeout, "0 s", "1 d")
