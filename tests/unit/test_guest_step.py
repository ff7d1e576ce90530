"""The life of a guest: every pair of phase and input, and the stories that matter."""

from __future__ import annotations

import signal

import msgspec
import pytest

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import inputs
from qsup.guest.effects import (
    Arm,
    AskAgent,
    Collect,
    Connect,
    Effect,
    Persist,
    Publish,
    Qmp,
    QueryStatus,
    Reply,
    Signal,
    Spawn,
)
from qsup.guest.restore import wants_start
from qsup.guest.state import Launch, State
from qsup.guest.step import step
from qsup.guest.turn import BACKOFF, DEADLINE, ENDING, HARD, PRESS, REARM, RECONNECT, STABLE
from qsup.guest.verbs import TABLE, Deed
from qsup.phase import ALIVE, ASKABLE, Phase, Verb, Wanted
from qsup.spec.policy import Reaction, Restart, RestartOn, Stop, StopMethod
from qsup.status import ExitStatus
from qsup.units import Duration
from tests.unit.guest_states import INPUTS, LAUNCH, STATES, changed, env, restarting, walk

KILLED = inputs.Exited(ExitStatus("signal", 9), "")
LEFT = inputs.Exited(ExitStatus("exit", 0), "")
POWERED_OFF = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
PANICKED = inputs.Happened("GUEST_PANICKED", {"action": "pause"})
RUNNING = STATES[Phase.RUNNING]


def commands(effects: list[Effect]) -> list[str]:
    return [effect.command for effect in effects if isinstance(effect, Qmp)]


def armed(effects: list[Effect]) -> dict[str, float]:
    return {effect.name: effect.seconds for effect in effects if isinstance(effect, Arm)}


def may_end_it(effect: Effect) -> bool:
    return isinstance(effect, Signal | AskAgent) or effect in (Qmp("quit"), Qmp("system_powerdown"))


def check_invariants(before: State, after: State, effects: list[Effect]) -> None:
    assert (after.launch is not None) == (after.phase in ALIVE)
    assert (after.next_try is not None) == (after.phase is Phase.BACKOFF)
    assert after.phase in ALIVE or not after.connected
    assert after.descent is None or after.phase is Phase.STOPPING
    ends = [at for at, effect in enumerate(effects) if may_end_it(effect)]
    assert not ends or Persist() not in effects[ends[0] :], "nobody would know who wanted that, and why"
    spawns = [effect for effect in effects if isinstance(effect, Spawn)]
    assert len(spawns) <= 1
    if spawns:
        assert after.phase is Phase.STARTING
        assert after.wanted is Wanted.RUNNING
    order = [2 if isinstance(effect, Collect) else is_word(effect) for effect in effects]
    assert order == sorted(order), "a word before the last deed, or a bundle before its cause is told"
    if after.phase is not before.phase:
        asked = {before.phase, after.phase} <= ASKABLE
        assert asked or any(isinstance(effect, Persist) for effect in effects)
        assert any(isinstance(effect, Publish) and effect.kind is Kind.PHASE for effect in effects)


def is_word(effect: Effect) -> bool:
    """Whether it is said only when all is done: not that a process has ended, which is so whatever comes."""
    is_end = isinstance(effect, Publish) and effect.kind is Kind.ENDED
    return isinstance(effect, Publish | Reply) and not is_end


@pytest.mark.parametrize("phase", Phase)
def test_every_input_has_an_answer_in_every_phase(phase: Phase) -> None:
    for happened in INPUTS:
        before = STATES[phase]
        after, effects = step(before, happened, env())
        check_invariants(before, after, effects)


@pytest.mark.parametrize("phase", sorted(ALIVE))
def test_while_a_process_lives_nothing_but_its_end_makes_a_second_one(phase: Phase) -> None:
    for happened in INPUTS:
        if isinstance(happened, inputs.Exited | inputs.LaunchFailed | inputs.Restored):
            continue
        _, effects = step(STATES[phase], happened, env())
        assert not any(isinstance(effect, Spawn) for effect in effects), happened


def test_the_table_of_verbs_is_total() -> None:
    assert {verb: set(row) for verb, row in TABLE.items()} == {verb: set(Phase) for verb in Verb}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("phase", Phase)
def test_every_verb_is_answered_once_as_the_table_says(verb: Verb, phase: Phase) -> None:
    after, effects = step(STATES[phase], inputs.Command(verb, "root"), env())
    replies = [effect for effect in effects if isinstance(effect, Reply)]
    assert len(replies) == 1
    assert replies[0].refused == (TABLE[verb][phase] is Deed.REFUSE)
    if replies[0].refused:
        assert after == STATES[phase]
        assert str(phase) in replies[0].text


def test_a_start_leads_to_running_vcpus() -> None:
    state, effects = walk(State(), inputs.Command(Verb.START, "root"))
    assert isinstance(next(e for e in effects if isinstance(e, Spawn)), Spawn)
    state, effects = walk(state, inputs.Spawned("t" * 16, 7, "kvm"), inputs.Connected("prelaunch"))
    assert commands(effects) == ["cont"]
    state, _ = walk(state, inputs.Happened("RESUME", {}), inputs.QmpDone("cont"))
    assert (state.phase, state.ready, state.pid, state.wanted) == (Phase.RUNNING, True, 7, Wanted.RUNNING)


def test_a_killed_qemu_is_started_again_after_the_delay() -> None:
    state, effects = walk(RUNNING, inputs.Lost("EOF"), KILLED, spec=restarting(delay=Duration(2)))
    assert state.phase is Phase.BACKOFF
    assert armed(effects) == {BACKOFF: 2.0}
    assert state.last_end is not None
    assert (state.last_end.cause, str(state.last_end.status)) == (Cause.QEMU_SIGNAL, "signal 9 (SIGKILL)")
    state, effects = walk(state, inputs.Timer(BACKOFF))
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert state.restarts == 1


def test_without_a_delay_the_restart_is_in_the_same_step() -> None:
    state, effects = walk(RUNNING, KILLED, spec=restarting(delay=Duration(0)))
    assert state.phase is Phase.STARTING
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert state.restarts == 1


def test_the_end_is_told_before_the_phase_that_follows() -> None:
    _, effects = walk(RUNNING, KILLED)
    kinds = [effect.kind for effect in effects if isinstance(effect, Publish)]
    assert kinds == [Kind.ENDED, Kind.PHASE]


def test_a_guest_that_powers_itself_off_stays_off_under_on_failure() -> None:
    state, effects = walk(RUNNING, POWERED_OFF)
    assert commands(effects) == ["quit"]
    assert ENDING in armed(effects)
    state, effects = walk(state, inputs.QmpDone("quit"), inputs.Lost("EOF"), LEFT)
    assert (state.phase, state.wanted) == (Phase.STOPPED, Wanted.RUNNING)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_SHUTDOWN
    assert state.failures == ()


def test_always_starts_a_guest_that_powered_itself_off() -> None:
    state, _ = walk(RUNNING, POWERED_OFF, LEFT, spec=restarting(policy=Restart.ALWAYS))
    assert state.phase is Phase.BACKOFF


def test_never_leaves_even_a_killed_guest_off() -> None:
    state, _ = walk(RUNNING, KILLED, spec=restarting(policy=Restart.NEVER))
    assert state.phase is Phase.STOPPED


def test_a_panic_ends_qemu_and_counts_as_a_failure() -> None:
    state, effects = walk(RUNNING, PANICKED)
    assert commands(effects) == ["quit"]
    state, _ = walk(state, inputs.Happened("STOP", {}), LEFT)
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_PANIC
    assert len(state.failures) == 1


def test_a_guest_that_was_reset_while_paused_stays_paused_under_the_next_daemon() -> None:
    state, effects = walk(RUNNING, inputs.Happened("STOP", {}), inputs.RunState("paused"))
    assert state.phase is Phase.PAUSED
    assert Persist() in effects
    state, _ = walk(state, inputs.Command(Verb.RESET, "root"))
    alive = msgspec.structs.replace(LAUNCH, adopted=True)
    state, effects = walk(state, inputs.Restored(same_boot=True, alive=alive), inputs.Connected("prelaunch"))
    assert state.phase is Phase.PAUSED
    assert "cont" not in [effect.command for effect in effects if isinstance(effect, Qmp)]


def test_a_panicked_guest_is_kept_for_inspection_if_its_file_says_so() -> None:
    spec = restarting(on=RestartOn(guest_panic=Reaction.PAUSE))
    state, effects = walk(RUNNING, PANICKED, spec=spec)
    assert state.phase is Phase.PAUSED
    assert commands(effects) == []
    again, effects = walk(state, inputs.RunState("guest-panicked"), spec=spec)
    assert (again.phase, commands(effects)) == (Phase.PAUSED, [])
    _, effects = walk(state, inputs.Command(Verb.RESET, "root"), spec=spec)
    assert commands(effects) == ["set-action", "system_reset", "cont"]


def test_a_reset_by_the_guest_itself_is_told_and_changes_no_phase() -> None:
    state, effects = walk(RUNNING, inputs.Happened("RESET", {"guest": True}))
    assert state.phase is Phase.RUNNING
    assert [effect.kind for effect in effects if isinstance(effect, Publish)] == [Kind.NOTICE]


def test_resets_are_told_of_once_a_second() -> None:
    reset = inputs.Happened("RESET", {"guest": True})
    state, _ = step(RUNNING, reset, env(now=10.0))
    state, effects = step(state, reset, env(now=10.5))
    assert effects == []
    state, effects = step(state, reset, env(now=11.2))
    assert isinstance(effects[-1], Publish)
    assert "reset 3" in effects[-1].data["message"]


def test_a_reset_restarts_qemu_if_a_rule_says_so() -> None:
    spec = restarting(on=RestartOn(guest_reset=Reaction.RESTART), delay=Duration(0))
    state, effects = walk(
        RUNNING, inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-reset"}), spec=spec
    )
    assert commands(effects) == ["quit"]
    state, effects = walk(state, LEFT, spec=spec)
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_RESET


def test_an_operators_reset_is_not_taken_for_an_end_where_resets_pause() -> None:
    spec = restarting(on=RestartOn(guest_reset=Reaction.RESTART))
    _, effects = walk(RUNNING, inputs.Command(Verb.RESET, "root"), spec=spec)
    assert commands(effects) == ["set-action", "system_reset"]
    _, effects = walk(RUNNING, inputs.Timer(REARM), spec=spec)
    assert effects == [Qmp("set-action", {"reboot": "shutdown"})]


def test_five_failures_within_the_window_are_enough() -> None:
    spec = restarting(delay=Duration(0), limit=5, window=Duration(60))
    state, now = RUNNING, 0.0
    for _ in range(4):
        state, _ = step(changed(state, phase=Phase.RUNNING, launch=LAUNCH), KILLED, env(spec, now=now))
        assert state.phase is Phase.STARTING
        now += 1
    state, effects = step(changed(state, phase=Phase.RUNNING, launch=LAUNCH), KILLED, env(spec, now=now))
    assert state.phase is Phase.GAVE_UP
    assert not any(isinstance(effect, Spawn) for effect in effects)
    state, effects = step(state, inputs.Command(Verb.START, "root"), env(spec, now=now))
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert (state.failures, state.streak) == ((), 0)


def test_failures_outside_the_window_do_not_count() -> None:
    spec = restarting(delay=Duration(0), limit=2, window=Duration(60))
    state = changed(RUNNING, failures=(100.0,), streak=1)
    state, _ = step(state, KILLED, env(spec, now=161.0))
    assert state.phase is Phase.STARTING
    assert state.failures == (161.0,)


def test_a_stable_run_clears_failures_and_delay() -> None:
    state = changed(STATES[Phase.STARTING], launch=LAUNCH, failures=(1.0, 2.0), streak=2)
    state, effects = walk(state, inputs.Happened("RESUME", {}))
    assert armed(effects) == {STABLE: 600.0}
    state, _ = walk(state, inputs.Timer(STABLE))
    assert (state.failures, state.streak) == ((), 0)


def test_a_launch_that_fails_is_tried_again() -> None:
    state, _ = walk(STATES[Phase.STARTING], inputs.LaunchFailed("disk.root: no such file"))
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert (state.last_end.cause, state.last_end.ran) == (Cause.START_FAILED, None)
    assert "no such file" in state.reason


def test_qemus_own_words_are_in_the_reason_of_a_failed_start() -> None:
    state = changed(STATES[Phase.STARTING], launch=Launch(token="t", pid=7))
    state, _ = walk(state, inputs.Exited(ExitStatus("exit", 1), "qemu-system-x86_64: no such machine\n"))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.START_FAILED
    assert "no such machine" in state.last_end.detail


def test_a_silent_qemu_is_killed_at_its_start_but_never_once_adopted() -> None:
    starting = changed(STATES[Phase.STARTING], launch=Launch(token="t", pid=7))
    _, effects = walk(starting, inputs.ConnectFailed("no greeting"))
    assert Signal(signal.SIGKILL) in effects
    adopted = changed(starting, launch=Launch(token="t", pid=7, adopted=True))
    state, effects = walk(adopted, inputs.ConnectFailed("no greeting"))
    assert state.phase is Phase.UNREACHABLE
    assert not any(isinstance(effect, Signal) for effect in effects)


def test_a_lost_session_makes_the_guest_unreachable_and_comes_back() -> None:
    state, effects = walk(RUNNING, inputs.Lost("EOF"))
    assert state.phase is Phase.RUNNING
    assert RECONNECT in armed(effects)
    state, effects = walk(state, inputs.Timer(RECONNECT))
    assert state.phase is Phase.UNREACHABLE
    assert any(isinstance(effect, Connect) for effect in effects)
    state, effects = walk(state, inputs.ConnectFailed("silent"))
    assert RECONNECT in armed(effects)
    state, _ = walk(state, inputs.Connected("running"))
    assert state.phase is Phase.RUNNING


def test_a_session_lost_before_the_guest_ran_is_a_start_that_failed() -> None:
    starting = changed(STATES[Phase.STARTING], launch=Launch(token="t", pid=7), connected=True)
    state, effects = walk(starting, inputs.Lost("it sent something that is not JSON"))
    assert RECONNECT in armed(effects)
    state, effects = walk(state, inputs.Timer(RECONNECT))
    assert Signal(signal.SIGKILL) in effects
    state, _ = walk(state, KILLED)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.START_FAILED


def test_a_stop_that_qemu_made_by_itself_is_looked_into() -> None:
    _, effects = walk(RUNNING, inputs.Happened("STOP", {}))
    assert any(isinstance(effect, QueryStatus) for effect in effects)
    state, _ = walk(RUNNING, inputs.RunState("io-error"))
    assert state.phase is Phase.PAUSED
    assert "qsup resume" in state.reason


def test_the_ladder_goes_from_agent_to_acpi_to_quit_to_signals() -> None:
    state, effects = walk(RUNNING, inputs.Command(Verb.STOP, "root"))
    assert any(isinstance(effect, AskAgent) for effect in effects)
    assert armed(effects) == {DEADLINE: 90.0, PRESS: 10.0}
    state, effects = walk(state, inputs.AgentAnswered("nobody"))
    assert commands(effects) == ["system_powerdown"]
    state, effects = walk(state, inputs.Timer(PRESS))
    assert commands(effects) == ["system_powerdown"]
    assert state.descent is not None
    assert (state.descent.rung, state.descent.presses) == ("acpi", 2)
    state, effects = walk(state, inputs.Timer(DEADLINE))
    assert commands(effects) == ["quit"]
    state, effects = walk(state, inputs.Timer(HARD))
    assert Signal(signal.SIGTERM) in effects
    state, effects = walk(state, inputs.Timer(HARD))
    assert Signal(signal.SIGKILL) in effects
    state, effects = walk(state, inputs.Timer(HARD))
    assert effects == []
    state, _ = walk(state, KILLED)
    assert (state.phase, state.reason) == (Phase.STOPPED, "stopped by SIGKILL")


def test_a_guest_that_obeys_is_stopped_by_the_rung_it_obeyed() -> None:
    state, effects = walk(
        RUNNING, inputs.Command(Verb.STOP, "root"), inputs.AgentAnswered("nobody"), POWERED_OFF
    )
    assert commands(effects) == ["quit"]
    state, _ = walk(state, inputs.Lost("EOF"), LEFT)
    assert state.last_end is not None
    assert (state.phase, state.last_end.stopped_by) == (Phase.STOPPED, "acpi")


def test_a_stop_that_does_not_last_is_a_stop_all_the_same_and_not_the_operators_last_word() -> None:
    spec = restarting(policy=Restart.ALWAYS)
    state, effects = walk(RUNNING, inputs.Command(Verb.STOP, "systemd", lasting=False), spec=spec)
    assert any(isinstance(effect, AskAgent) for effect in effects)
    state, _ = walk(state, POWERED_OFF, inputs.Lost("EOF"), LEFT, spec=spec)
    assert (state.phase, state.wanted) == (Phase.STOPPED, RUNNING.wanted)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.OPERATOR
    assert not wants_start(state, autostart=True, same_boot=True)
    assert wants_start(state, autostart=True, same_boot=False)


def test_without_methods_qemu_is_told_to_quit_at_once() -> None:
    _, effects = walk(RUNNING, inputs.Command(Verb.STOP, "root"), spec=restarting(stop=Stop(methods=())))
    assert commands(effects) == ["quit"]


def test_a_paused_guest_is_let_run_so_that_it_can_shut_down() -> None:
    spec = restarting(stop=Stop(methods=(StopMethod.ACPI,)))
    _, effects = walk(STATES[Phase.PAUSED], inputs.Command(Verb.STOP, "root"), spec=spec)
    assert commands(effects) == ["cont", "system_powerdown"]


def test_an_unreachable_guest_is_stopped_by_signals() -> None:
    _, effects = walk(STATES[Phase.UNREACHABLE], inputs.Command(Verb.STOP, "root"))
    assert Signal(signal.SIGTERM) in effects


def test_a_restart_goes_down_the_ladder_and_up_again() -> None:
    state, _ = walk(RUNNING, inputs.Command(Verb.RESTART, "root"), POWERED_OFF)
    assert state.phase is Phase.STOPPING
    state, effects = walk(state, LEFT)
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert state.restarts == 0


def test_a_start_during_a_stop_is_remembered_and_a_stop_after_that_wins() -> None:
    stopping = STATES[Phase.STOPPING]
    state, _ = walk(stopping, inputs.Command(Verb.START, "root"))
    started, effects = walk(state, LEFT)
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert started.wanted is Wanted.RUNNING
    state, effects = walk(state, inputs.Command(Verb.STOP, "root"), LEFT)
    assert state.phase is Phase.STOPPED
    assert not any(isinstance(effect, Spawn) for effect in effects)


def test_a_kill_needs_no_cooperation() -> None:
    state, effects = walk(RUNNING, inputs.Command(Verb.KILL, "root"))
    assert Signal(signal.SIGKILL) in effects
    state, _ = walk(state, KILLED)
    assert (state.phase, state.wanted, state.reason) == (Phase.STOPPED, Wanted.STOPPED, "stopped by SIGKILL")


def test_a_kill_during_the_launch_reaches_the_process_once_it_exists() -> None:
    state, effects = walk(STATES[Phase.STARTING], inputs.Command(Verb.KILL, "root"))
    assert not any(isinstance(effect, Signal) for effect in effects)
    _, effects = walk(state, inputs.Spawned("t" * 16, 7, "tcg"))
    assert Signal(signal.SIGKILL) in effects


def test_a_stop_ends_the_backoff() -> None:
    state, _ = walk(STATES[Phase.BACKOFF], inputs.Command(Verb.STOP, "root"))
    assert state.phase is Phase.STOPPED
    state, effects = walk(state, inputs.Timer(BACKOFF))
    assert effects == []


def test_qmp_refusing_a_verb_is_its_trouble() -> None:
    state, _ = walk(
        STATES[Phase.PAUSED], inputs.Command(Verb.RESUME, "root"), inputs.QmpDone("cont", "needs reset")
    )
    assert (state.pending, state.trouble) == (None, "needs reset")


def test_somebody_elses_signal_to_qemu_is_a_failure_with_its_sender() -> None:
    told = inputs.Happened("SHUTDOWN", {"guest": False, "reason": "host-signal"})
    hanging, effects = walk(RUNNING, told)
    assert (hanging.phase, armed(effects)) == (Phase.STOPPING, {ENDING: 5.0})
    assert Signal(signal.SIGKILL) in walk(hanging, inputs.Timer(ENDING))[1]
    words = "qemu-system-x86_64: terminating on signal 15 from pid 99 (kill)\n"
    state, _ = walk(RUNNING, told, inputs.Exited(ExitStatus("exit", 0), words))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.QEMU_SIGNAL
    assert "from pid 99" in state.last_end.detail
    assert state.phase is Phase.BACKOFF


def test_an_unknown_exit_status_is_completed_when_the_kernel_tells_it() -> None:
    state, _ = walk(RUNNING, inputs.Exited(None, ""))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.UNKNOWN
    state, effects = walk(state, inputs.StatusKnown(ExitStatus("signal", 11)))
    assert state.last_end is not None
    assert (state.last_end.cause, str(state.last_end.status)) == (Cause.QEMU_SIGNAL, "signal 11 (SIGSEGV)")
    assert [effect.kind for effect in effects if isinstance(effect, Publish)] == [Kind.STATUS]
