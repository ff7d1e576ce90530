"""When a guest counts as ready, whether it is well, and what is done when it hangs."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import inputs
from qsup.guest.duties import Watch, duties
from qsup.guest.effects import Arm, AskAgent, Collect, Effect, Persist, Publish, Qmp, Signal
from qsup.guest.outcome import outcome
from qsup.guest.restore import wants_start
from qsup.guest.state import Ill, Launch, State
from qsup.guest.step import step
from qsup.guest.turn import MAINTENANCE, READY, STAGE
from qsup.phase import Phase, Verb, Wanted
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, Restart, RestartOn, RestartPolicy
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.hang import Hang, Stage
from qsup.spec.tables.health import Health, HealthCheck
from qsup.spec.tables.ready import Ready, ReadyCheck
from qsup.status import ExitStatus
from qsup.units import Duration
from tests.unit.guest_states import LAUNCH, SPEC, STATES, changed, env, walk

RUNNING = STATES[Phase.RUNNING]
STARTING = changed(
    STATES[Phase.STARTING], launch=Launch(token="0" * 16, pid=4711, booted_at=198.0), connected=True
)
RESET = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
BY_AGENT = GuestSpec(name="web1", agent=Agent(enabled=True), ready=Ready(check=ReadyCheck.AGENT))


def commands(effects: list[Effect]) -> list[str]:
    return [effect.command for effect in effects if isinstance(effect, Qmp)]


def signals(effects: list[Effect]) -> list[int]:
    return [effect.number for effect in effects if isinstance(effect, Signal)]


def told(effects: list[Effect], kind: Kind) -> list[dict[str, Any]]:
    return [effect.data for effect in effects if isinstance(effect, Publish) and effect.kind is kind]


def watched(state: State, spec: GuestSpec) -> set[Watch]:
    return {duty.watch for duty in duties(state, spec)}


def test_without_a_check_a_guest_is_ready_as_it_runs() -> None:
    state, effects = walk(STARTING, inputs.Happened("RESUME", {}))
    assert state.ready
    assert told(effects, Kind.READY) == [{"after": 2.0, "detail": "its vCPUs run"}]
    assert Watch.READY not in watched(state, SPEC)
    state, _ = walk(state, RESET)
    assert state.ready


def test_a_check_makes_it_ready_and_a_reset_has_it_begin_anew() -> None:
    state, effects = walk(STARTING, inputs.Happened("RESUME", {}), spec=BY_AGENT)
    assert not state.ready
    assert Arm(READY, 300.0) in effects
    assert outcome(Verb.START, state, ready=True) is None
    assert outcome(Verb.START, state) is not None
    (duty,) = (one for one in duties(state, BY_AGENT) if one.watch is Watch.READY)
    state, effects = walk(state, inputs.Ready("its agent answers"), spec=BY_AGENT, now=210.0)
    assert state.ready
    assert told(effects, Kind.READY) == [{"after": 12.0, "detail": "its agent answers"}]
    done = outcome(Verb.START, state, ready=True)
    assert done is not None
    assert done.ok
    state, _ = walk(state, RESET, spec=BY_AGENT, now=220.0)
    assert not state.ready
    assert Watch.READY in watched(state, BY_AGENT)
    assert duty not in duties(state, BY_AGENT)
    _, effects = walk(state, inputs.Ready("its agent answers"), spec=BY_AGENT, now=223.0)
    assert told(effects, Kind.READY)[0]["after"] == 3.0


def test_a_guest_that_is_not_ready_in_time_is_shut_down_and_started_again() -> None:
    state, _ = walk(STARTING, inputs.Happened("RESUME", {}), spec=BY_AGENT)
    state, effects = walk(state, inputs.NotReady("failed: no agent answers"), spec=BY_AGENT, now=450.0)
    assert Persist() not in effects
    state, effects = walk(state, inputs.Timer(READY), spec=BY_AGENT, now=500.0)
    assert state.phase is Phase.STOPPING
    assert "; the last look: failed: no agent answers" in state.reason
    assert any(isinstance(effect, AskAgent) for effect in effects)
    state, _ = walk(state, inputs.Exited(ExitStatus("exit", 0), ""), spec=BY_AGENT, now=510.0)
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert state.last_end.cause is Cause.START_TIMEOUT
    assert len(state.failures) == 1


def test_a_boot_loop_ends_in_gave_up() -> None:
    state, now = STARTING, 200.0
    for _ in range(5):
        state, _ = walk(state, inputs.Happened("RESUME", {}), spec=BY_AGENT, now=now)
        state, _ = walk(state, inputs.Timer(READY), spec=BY_AGENT, now=now + 50)
        state, _ = walk(state, inputs.Exited(ExitStatus("exit", 0), ""), spec=BY_AGENT, now=now + 51)
        now += 60
        if state.phase is Phase.BACKOFF:
            fresh = Launch(token="1" * 16, pid=4712, booted_at=now)
            state = changed(STARTING, launch=fresh, failures=state.failures, streak=state.streak)
    assert state.phase is Phase.GAVE_UP


@pytest.mark.parametrize(
    "policy",
    [RestartPolicy(policy=Restart.NEVER), RestartPolicy(on=RestartOn(start_timeout=Reaction.IGNORE))],
)
def test_a_policy_can_let_it_be_late(policy: RestartPolicy) -> None:
    spec = msgspec.structs.replace(BY_AGENT, restart=policy)
    state, _ = walk(STARTING, inputs.Happened("RESUME", {}), spec=spec)
    state, effects = walk(state, inputs.Timer(READY), spec=spec)
    assert state.phase is Phase.RUNNING
    assert told(effects, Kind.TROUBLE)[0]["cause"] == "start-timeout"
    state, _ = walk(state, inputs.Ready("its agent answers"), spec=spec)
    assert state.ready


def test_while_it_stands_still_it_cannot_be_late() -> None:
    state, _ = walk(STARTING, inputs.Happened("RESUME", {}), inputs.RunState("paused"), spec=BY_AGENT)
    state, effects = walk(state, inputs.Timer(READY), spec=BY_AGENT)
    assert state.phase is Phase.PAUSED
    assert Arm(READY, 300.0) in effects


def test_qemu_that_does_not_answer_in_time_is_a_start_timeout() -> None:
    state, effects = walk(STATES[Phase.STARTING], inputs.ConnectFailed("it did not greet", late=True))
    assert signals(effects) == [signal.SIGKILL]
    state, _ = walk(state, inputs.Exited(ExitStatus("signal", 9), ""))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.START_TIMEOUT


def test_an_adopted_guest_is_as_ready_as_it_was() -> None:
    known = changed(RUNNING, launch=msgspec.structs.replace(LAUNCH, ready_after=12.0, booted_at=100.0))
    alive = Launch(token=LAUNCH.token, pid=4711, running_since=100.0, adopted=True)
    unknown = changed(RUNNING, launch=None)
    restored = inputs.Restored(same_boot=True, alive=alive)
    state, effects = walk(known, restored, inputs.Connected("running"), spec=BY_AGENT)
    assert state.ready
    assert told(effects, Kind.READY) == []
    state, _ = walk(unknown, restored, inputs.Connected("running"), spec=BY_AGENT)
    assert not state.ready


UNWELL = GuestSpec(name="web1", health=(Health(name="web", check=HealthCheck.TCP, address="127.0.0.1:80"),))


def test_what_an_adopted_guest_said_unheard_is_not_held_against_it() -> None:
    spec = msgspec.structs.replace(SPEC, ready=Ready(check=ReadyCheck.CONSOLE, text="login:"))

    def at_the_timeout(*, adopted: bool) -> tuple[State, list[Effect]]:
        launch = msgspec.structs.replace(LAUNCH, adopted=adopted, ready_after=None, booted_at=10.0)
        return walk(changed(RUNNING, launch=launch), inputs.Timer(READY), spec=spec)

    state, effects = at_the_timeout(adopted=True)
    assert state.phase is Phase.RUNNING
    assert told(effects, Kind.READY)[0]["detail"].startswith("not known for sure")
    assert at_the_timeout(adopted=False)[0].phase is Phase.STOPPING


def test_an_unhealthy_guest_is_shut_down_like_one_that_an_operator_stops() -> None:
    assert Watch.HEALTH in watched(RUNNING, UNWELL)
    state, _ = walk(RUNNING, inputs.Health("web", "nobody answers"), spec=UNWELL)
    assert state.phase is Phase.STOPPING
    assert state.reason == "guest-unhealthy: the check web failed: nobody answers"
    state, _ = walk(state, inputs.Exited(ExitStatus("exit", 0), ""), spec=UNWELL)
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_UNHEALTHY


def test_a_rule_can_let_an_unhealthy_guest_be_and_its_recovery_is_told() -> None:
    spec = msgspec.structs.replace(
        UNWELL, restart=RestartPolicy(on=RestartOn(guest_unhealthy=Reaction.IGNORE))
    )
    state, effects = walk(RUNNING, inputs.Health("web", "nobody answers"), spec=spec)
    assert (state.phase, state.ill and state.ill.cause) == (Phase.RUNNING, Cause.GUEST_UNHEALTHY)
    state, effects = walk(state, inputs.Health("web", None), spec=spec, now=260.0)
    assert state.ill is None
    assert told(effects, Kind.RECOVERED)[0]["after"] == 60.0


STOPPED = inputs.Pulse(Cause.QEMU_STOPPED, "a signal has stopped it", ("state T",))


def test_a_stopped_qemu_is_answered_stage_by_stage() -> None:
    state, effects = walk(RUNNING, STOPPED)
    assert state.phase is Phase.UNREACHABLE
    assert any(isinstance(effect, Collect) for effect in effects)
    assert signals(effects) == [signal.SIGCONT]
    assert Arm(STAGE, 15.0) in effects
    assert told(effects, Kind.TROUBLE)[0]["decision"] == "to be done: evidence, continue, quit, kill"
    state, effects = walk(state, inputs.Timer(STAGE))
    assert signals(effects) == [signal.SIGTERM]
    state, effects = walk(state, inputs.Timer(STAGE))
    assert signals(effects) == [signal.SIGKILL]
    state, effects = walk(state, inputs.Exited(ExitStatus("signal", 9), ""))
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert state.last_end.cause is Cause.QEMU_STOPPED
    assert any(line.startswith("qemu-stopped") for line in state.last_end.evidence)


def test_a_stage_that_helps_is_the_last() -> None:
    state, _ = walk(RUNNING, STOPPED)
    state, effects = walk(
        state, inputs.Pulse(None, "it answers again"), inputs.RunState("running"), now=203.0
    )
    assert (state.phase, state.ill) == (Phase.RUNNING, None)
    assert state.ready == RUNNING.ready
    _, effects = walk(state, inputs.Timer(STAGE))
    assert signals(effects) == []


def test_a_hung_main_loop_cannot_be_continued() -> None:
    _, effects = walk(RUNNING, inputs.Pulse(Cause.QEMU_HUNG, "only its I/O thread answers"))
    assert signals(effects) == [signal.SIGTERM]


def test_nothing_is_done_to_a_qemu_that_waits_for_dead_storage() -> None:
    state, effects = walk(
        RUNNING, inputs.Pulse(Cause.QEMU_HUNG, "state D", alone="the host does not serve it")
    )
    assert signals(effects) == []
    assert "does not serve it" in state.reason
    assert any(isinstance(effect, Collect) for effect in effects)
    _, effects = walk(state, inputs.Timer(STAGE))
    assert signals(effects) == []


HUNG = inputs.Pulse(Cause.GUEST_HUNG, "no vCPU has run for 5 min")


def test_a_hung_guest_is_only_told_without_stages() -> None:
    state, effects = walk(RUNNING, HUNG)
    assert state.phase is Phase.RUNNING
    assert state.reason.startswith("guest-hung")
    assert commands(effects) == []
    assert told(effects, Kind.TROUBLE)[0]["decision"] == "to be done: evidence"


def test_a_hung_guest_goes_through_all_stages_that_its_file_wants() -> None:
    stages = (Stage.AGENT, Stage.NMI, Stage.RESET, Stage.QUIT, Stage.KILL)
    spec = GuestSpec(name="web1", agent=Agent(enabled=True), hang=Hang(guest_stages=stages))
    state, effects = walk(RUNNING, HUNG, spec=spec)
    assert AskAgent("reboot") in effects
    seen = []
    for _ in range(4):
        state, effects = walk(state, inputs.Timer(STAGE), spec=spec)
        seen.append((commands(effects), signals(effects)))
    assert seen == [
        (["inject-nmi"], []), (["set-action", "system_reset"], []), (["quit"], []), ([], [signal.SIGKILL]),
    ]  # fmt: skip
    state, _ = walk(state, inputs.Exited(ExitStatus("signal", 9), ""), spec=spec)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_HUNG


def test_a_lost_session_is_not_left_so_for_ever() -> None:
    lost, _ = walk(RUNNING, inputs.Lost("EOF"), inputs.Timer("reconnect"))
    assert Watch.PULSE in {duty.watch for duty in duties(lost, SPEC)}
    _, effects = walk(lost, inputs.Pulse(Cause.QMP_LOST, "no QMP session to it can be had"))
    assert told(effects, Kind.TROUBLE)[0]["cause"] == "qmp-lost"
    assert signals(effects) == [signal.SIGTERM]
    again = walk(lost, inputs.Connected("running"))[0]
    assert (again.phase, again.ill) == (Phase.RUNNING, None)


def test_under_maintenance_it_is_told_and_nothing_is_done() -> None:
    state, effects = walk(RUNNING, inputs.Maintenance(3800.0, "root"))
    assert Arm(MAINTENANCE, 3600.0) in effects
    state, effects = walk(state, STOPPED)
    assert signals(effects) == []
    assert told(effects, Kind.TROUBLE)[0]["decision"] == "nothing, as it is under maintenance"
    state, effects = walk(state, inputs.Maintenance(None, "root"))
    assert state.maintenance is None
    assert signals(effects) == [signal.SIGCONT]


def test_counts_outlive_the_host_and_a_clock_that_was_set_back() -> None:
    failed = changed(STATES[Phase.BACKOFF], failures=(900.0, 990.0), streak=2, next_try=1002.0)
    state, effects = step(failed, inputs.Restored(same_boot=False, shift=-980.0), env(now=30.0))
    assert (state.phase, state.failures, state.streak) == (Phase.BACKOFF, (-80.0, 10.0), 2)
    assert Arm("backoff", 0.0) in effects
    given_up = changed(STATES[Phase.GAVE_UP])
    state, _ = step(given_up, inputs.Restored(same_boot=False), env(now=30.0))
    assert state.phase is Phase.GAVE_UP
    state, effects = step(RUNNING, inputs.Restored(same_boot=False), env(now=30.0))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.HOST_SHUTDOWN
    assert wants_start(state, autostart=False, same_boot=False)
    assert told(effects, Kind.ENDED)


def test_an_operators_start_clears_the_counts() -> None:
    state, _ = walk(STATES[Phase.GAVE_UP], inputs.Command(Verb.START, "root"))
    assert (state.failures, state.streak, state.resets) == ((), 0, ())
    assert state.wanted is Wanted.RUNNING


def test_an_ill_guest_that_is_started_anew_is_well() -> None:
    ill = changed(RUNNING, ill=Ill(Cause.GUEST_UNHEALTHY, "x", 100.0))
    state, _ = walk(ill, inputs.Exited(ExitStatus("signal", 9), ""))
    assert state.ill is None


def test_an_edited_delay_of_readiness_is_a_duration() -> None:
    spec = msgspec.structs.replace(BY_AGENT, ready=Ready(check=ReadyCheck.AGENT, timeout=Duration(0)))
    _, effects = walk(STARTING, inputs.Happened("RESUME", {}), spec=spec)
    assert not [effect for effect in effects if isinstance(effect, Arm) and effect.name == READY]
