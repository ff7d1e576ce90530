"""States and inputs of every kind, for the tests of the guest's life."""

from __future__ import annotations

from typing import Any

import msgspec

from qsup.cause import Cause
from qsup.guest import inputs
from qsup.guest.effects import Effect
from qsup.guest.state import Descent, Launch, State
from qsup.guest.step import step
from qsup.guest.turn import MAINTENANCE, TIMERS, Env
from qsup.phase import Phase, Verb, Wanted
from qsup.spec.model import GuestSpec
from qsup.spec.policy import RestartOn, RestartPolicy, Stop
from qsup.status import ExitStatus

LAUNCH = Launch(token="0123456789abcdef", pid=4711, accel="tcg", running_since=100.0, ready_after=0.0)
SPEC = GuestSpec(name="web1")

STATES: dict[Phase, State] = {
    Phase.STOPPED: State(phase=Phase.STOPPED),
    Phase.STARTING: State(
        phase=Phase.STARTING, wanted=Wanted.RUNNING, commanded=True, launch=Launch(token="")
    ),
    Phase.RUNNING: State(
        phase=Phase.RUNNING,
        wanted=Wanted.RUNNING,
        commanded=True,
        launch=LAUNCH,
        connected=True,
        run_state="running",
    ),
    Phase.PAUSED: State(
        phase=Phase.PAUSED,
        wanted=Wanted.RUNNING,
        commanded=True,
        launch=LAUNCH,
        connected=True,
        run_state="paused",
    ),
    Phase.STOPPING: State(
        phase=Phase.STOPPING,
        commanded=True,
        launch=LAUNCH,
        connected=True,
        descent=Descent("acpi", 1, 1, 100.0),
    ),
    Phase.BACKOFF: State(
        phase=Phase.BACKOFF,
        wanted=Wanted.RUNNING,
        commanded=True,
        next_try=210.0,
        failures=(195.0,),
        streak=1,
    ),
    Phase.GAVE_UP: State(
        phase=Phase.GAVE_UP, wanted=Wanted.RUNNING, commanded=True, failures=(1.0,) * 5, streak=5
    ),
    Phase.UNREACHABLE: State(phase=Phase.UNREACHABLE, wanted=Wanted.RUNNING, commanded=True, launch=LAUNCH),
}

EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("RESUME", {}),
    ("STOP", {}),
    ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}),
    ("SHUTDOWN", {"guest": True, "reason": "guest-reset"}),
    ("SHUTDOWN", {"guest": True, "reason": "guest-panic"}),
    ("SHUTDOWN", {"guest": False, "reason": "host-signal"}),
    ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}),
    ("SHUTDOWN", {"reason": 7}),
    ("RESET", {"guest": True, "reason": "guest-reset"}),
    ("RESET", {"guest": False}),
    ("GUEST_PANICKED", {"action": "pause"}),
    ("GUEST_PANICKED", {"action": "run"}),
    ("GUEST_PANICKED", {"action": ["nonsense"]}),
    ("GUEST_CRASHLOADED", {"action": "run"}),
    ("WATCHDOG", {"action": "reset"}),
    ("WATCHDOG", {"action": "pause"}),
    ("WATCHDOG", {"action": 7}),
    ("BLOCK_IO_ERROR", {"node-name": "disk-root", "nospace": True, "action": "stop", "operation": "write"}),
    ("BLOCK_IO_ERROR", {"device": [], "nospace": "yes", "action": "report"}),
    ("BLOCK_IMAGE_CORRUPTED", {"node-name": "disk-root", "msg": "bad", "fatal": True}),
    ("BLOCK_IMAGE_CORRUPTED", {"msg": None}),
    ("RTC_CHANGE", {"offset": 1}),
]
RUN_STATES = [
    "prelaunch",
    "running",
    "paused",
    "shutdown",
    "guest-panicked",
    "internal-error",
    "io-error",
    "watchdog",
    "nonsense",
]
HELPERS: list[inputs.HelperExited] = [
    inputs.HelperExited("tpm", ExitStatus("signal", 9), ""),
    inputs.HelperExited("share-data", None, "virtiofsd: trouble\n"),
    inputs.HelperExited("net-lan", ExitStatus("exit", 1), "port taken\n", replaceable=True),
    inputs.HelperExited("net-lan", None, "nobody listens", replaceable=True, started=False),
]

WATCHED: list[inputs.Input] = [
    inputs.Ready("its agent answers"),
    inputs.NotReady("failed: nobody listens"),
    inputs.Health("web", "no answer"),
    inputs.Health("web", None),
    inputs.Pulse(Cause.QEMU_STOPPED, "state T"),
    inputs.Pulse(Cause.QEMU_HUNG, "no answer", alone="the host does not serve it"),
    inputs.Pulse(Cause.GUEST_HUNG, "no progress", ("no interrupt for 300 s",)),
    inputs.Pulse(None, "it answers again"),
    inputs.Space("2 GiB are free"),
    inputs.Maintenance(300.0, "root"),
    inputs.Maintenance(None, "root"),
]

INPUTS: list[inputs.Input] = [
    *(inputs.Command(verb, "root") for verb in Verb),
    inputs.Due(),
    inputs.Spawned("fedcba9876543210", 4712, "tcg"),
    inputs.LaunchFailed("no such image"),
    *(inputs.Connected(run_state) for run_state in RUN_STATES),
    inputs.ConnectFailed("nobody answers"),
    inputs.Lost("EOF"),
    *(inputs.Happened(name, data) for name, data in EVENTS),
    inputs.Happened("RESET", {"guest": True}, triple_fault=True),
    *(inputs.RunState(run_state) for run_state in RUN_STATES),
    inputs.QmpDone("cont"),
    inputs.QmpDone("cont", "refused"),
    inputs.QmpDone("quit", "lost"),
    inputs.AgentAnswered(),
    inputs.AgentAnswered("nobody answers"),
    inputs.Exited(ExitStatus("exit", 0), ""),
    inputs.Exited(ExitStatus("signal", 9), "qemu: trouble\n"),
    inputs.Exited(None, ""),
    inputs.Exited(ExitStatus("signal", 9), "", oom="the kernel killed QEMU"),
    inputs.Exited(ExitStatus("exit", 0), "", host_down=True),
    inputs.Exited(ExitStatus("exit", 0), "", unit_stopped=True),
    inputs.ConnectFailed("no greeting", late=True),
    *WATCHED,
    *HELPERS,
    inputs.StatusKnown(ExitStatus("signal", 6)),
    *(inputs.Timer(name) for name in (*TIMERS, MAINTENANCE)),
    inputs.Restored(same_boot=True),
    inputs.Restored(same_boot=True, exited=inputs.Exited(None, "")),
    inputs.Restored(same_boot=False),
    inputs.Restored(same_boot=True, alive=LAUNCH),
]


def env(spec: GuestSpec = SPEC, *, now: float = 200.0, jitter: float = 0.0) -> Env:
    """The surroundings of a step, at a time of the test's choosing."""
    return Env(now, now + 1_700_000_000, jitter, spec)


def restarting(stop: Stop | None = None, on: RestartOn | None = None, **policy: Any) -> GuestSpec:
    """A guest whose ``[restart]`` and ``[stop]`` tables say this."""
    return GuestSpec(name="web1", restart=RestartPolicy(on=on or RestartOn(), **policy), stop=stop or Stop())


def walk(
    state: State, *steps: inputs.Input, spec: GuestSpec = SPEC, now: float = 200.0
) -> tuple[State, list[Effect]]:
    """Several steps in a row, a second apart; the last state, and the effects of the last step."""
    effects: list[Effect] = []
    for number, happened in enumerate(steps):
        state, effects = step(state, happened, env(spec, now=now + number))
    return state, effects


def changed(state: State, **changes: Any) -> State:
    """The state with some fields replaced."""
    return msgspec.structs.replace(state, **changes)
