"""A stop with all other guests: within a share of one time, not for good, and whatever else happens to the guest."""

from __future__ import annotations

import signal

import pytest

from qsup.cause import Cause
from qsup.guest import inputs, ladder
from qsup.guest.effects import Arm, Cancel, Effect, Qmp, Signal, Spawn
from qsup.guest.outcome import outcome
from qsup.guest.restore import wants_start
from qsup.guest.state import Descent, Ending, Launch, Leave, State
from qsup.guest.turn import BACKOFF, DEADLINE, HARD
from qsup.phase import Phase, Verb, Wanted
from qsup.spec.policy import Restart, Stop, StopMethod
from qsup.status import ExitStatus
from qsup.units import Duration
from tests.unit.guest_states import STATES, changed, env, restarting, walk

NOW = env().now
LEFT = inputs.Exited(ExitStatus("exit", 0), "")
KILLED = inputs.Exited(ExitStatus("signal", 9), "")
RUNNING = STATES[Phase.RUNNING]
ACPI = restarting(stop=Stop(methods=(StopMethod.ACPI,), timeout=Duration(90)), policy=Restart.ALWAYS)


def leave(seconds: float, *, host_down: bool = True) -> inputs.Command:
    return inputs.Command(Verb.STOP, "root", lasting=False, leave=Leave(NOW + seconds, host_down))


def armed(effects: list[Effect]) -> dict[str, float]:
    return {effect.name: effect.seconds for effect in effects if isinstance(effect, Arm)}


def test_with_all_its_time_the_ladder_is_that_of_the_file() -> None:
    assert ladder.need(ACPI) == 100
    _, effects = walk(RUNNING, leave(100), spec=ACPI)
    assert armed(effects)[DEADLINE] == 90


def test_with_less_each_rung_has_less_and_the_last_is_over_in_time() -> None:
    state, effects = walk(RUNNING, leave(20), spec=ACPI)
    asking = armed(effects)[DEADLINE]
    assert asking == pytest.approx(16)
    # The time of these steps stands still; as if it had passed, the end comes nearer.
    state = changed(state, leave=Leave(NOW + 20 - asking, host_down=True))
    state, effects = walk(state, inputs.Timer(DEADLINE), spec=ACPI)
    assert [effect.command for effect in effects if isinstance(effect, Qmp)] == ["quit"]
    assert armed(effects)[HARD] == pytest.approx(2)
    state = changed(state, leave=Leave(NOW + 2, host_down=True))
    state, effects = walk(state, inputs.Timer(HARD), spec=ACPI)
    assert Signal(signal.SIGTERM) in effects
    assert armed(effects)[HARD] == pytest.approx(2)
    state = changed(state, leave=Leave(NOW, host_down=True))
    state, effects = walk(state, inputs.Timer(HARD), spec=ACPI)
    assert Signal(signal.SIGKILL) in effects
    assert effects.index(Cancel(HARD)) > effects.index(Arm(HARD, 0.0))


def test_with_no_time_left_it_is_killed_at_once() -> None:
    _, effects = walk(RUNNING, leave(-1), spec=ACPI)
    assert armed(effects)[DEADLINE] == 0


def test_a_stop_that_is_under_way_already_is_hurried() -> None:
    stopping = changed(STATES[Phase.STOPPING], wanted=Wanted.RUNNING, descent=Descent("acpi", 0, 1, NOW - 80))
    _, effects = walk(stopping, leave(500), spec=ACPI)
    assert armed(effects) == {DEADLINE: pytest.approx(10)}, "as its file has it"
    _, effects = walk(stopping, leave(5), spec=ACPI)
    assert armed(effects) == {DEADLINE: pytest.approx(4)}
    _, effects = walk(changed(stopping, descent=Descent("quit", 1, 1, NOW)), leave(4), spec=ACPI)
    assert armed(effects) == {HARD: pytest.approx(2)}


def test_it_is_no_operators_last_word_but_nothing_starts_it_before_the_host_or_somebody_does() -> None:
    state, effects = walk(RUNNING, leave(20), LEFT, spec=ACPI)
    assert not any(isinstance(effect, Spawn) for effect in effects), "restart.policy is always"
    assert (state.phase, state.wanted) == (Phase.STOPPED, Wanted.RUNNING)
    assert not wants_start(state, autostart=True, same_boot=True)
    assert wants_start(state, autostart=False, same_boot=False)
    state, _ = walk(state, inputs.Due(), spec=ACPI)
    assert (state.phase, state.leave) == (Phase.STARTING, None)


@pytest.mark.parametrize("host_down", [False, True])
def test_the_cause_is_the_hosts_shutdown_only_if_it_goes_down(host_down: bool) -> None:
    state, _ = walk(RUNNING, leave(20, host_down=host_down), LEFT, spec=ACPI)
    assert state.last_end is not None
    assert state.last_end.cause is (Cause.HOST_SHUTDOWN if host_down else Cause.OPERATOR)
    assert state.last_end.stopped_by == "acpi"


def test_a_guest_that_just_fails_is_not_started_again_meanwhile() -> None:
    failing = changed(
        STATES[Phase.STOPPING],
        wanted=Wanted.RUNNING,
        descent=None,
        ending=Ending(Cause.GUEST_PANIC, "it panicked"),
    )
    state, effects = walk(failing, leave(20), KILLED, spec=ACPI)
    assert not any(isinstance(effect, Spawn) for effect in effects)
    assert BACKOFF not in armed(effects)
    assert state.phase is Phase.STOPPED
    assert state.last_end is not None
    assert state.last_end.cause is Cause.GUEST_PANIC


def test_who_waits_for_a_restart_waits_no_longer_and_is_still_due() -> None:
    state, _ = walk(STATES[Phase.BACKOFF], leave(20))
    assert (state.phase, state.wanted) == (Phase.STOPPED, Wanted.RUNNING)
    assert state.leave is not None
    never_ran = State(phase=Phase.STOPPED, leave=state.leave)
    assert not wants_start(never_ran, autostart=True, same_boot=True)


def test_an_operators_word_counts_more() -> None:
    state, _ = walk(RUNNING, leave(20), LEFT, inputs.Command(Verb.STOP, "root"), spec=ACPI)
    assert (state.wanted, state.leave) == (Wanted.STOPPED, None)


def test_systemd_that_stops_its_scope_meanwhile_gives_it_no_more_time() -> None:
    state, _ = walk(RUNNING, leave(20), inputs.Command(Verb.STOP, "systemd", lasting=False), spec=ACPI)
    assert state.leave == Leave(NOW + 20, host_down=True)


def test_a_new_daemon_goes_on_with_it_within_the_same_time() -> None:
    state, _ = walk(RUNNING, leave(20), spec=ACPI)
    alive = Launch(
        token=RUNNING.launch.token if RUNNING.launch else "", pid=4711, running_since=100.0, adopted=True
    )
    state, effects = walk(state, inputs.Restored(True, alive), inputs.Connected("running"), spec=ACPI)
    assert state.phase is Phase.STOPPING
    assert armed(effects)[DEADLINE] == pytest.approx(0.8 * 19), "a second later"


def test_it_is_not_done_before_it_is() -> None:
    state, _ = walk(RUNNING, leave(20), spec=ACPI)
    assert outcome(Verb.STOP, state) is None
    state, _ = walk(state, LEFT, spec=ACPI)
    told = outcome(Verb.STOP, state)
    assert told is not None
    assert (told.ok, told.text) == (True, "stopped by acpi")


def test_what_is_no_chance_to_end_otherwise_is_no_cut() -> None:
    without = restarting(stop=Stop(methods=()))
    assert ladder.need(without) == 10
    assert [ladder.is_hard(ACPI, rung) for rung in ("acpi", "quit", "SIGKILL", None)] == [
        False,
        True,
        True,
        False,
    ]
    assert [ladder.is_hard(without, rung) for rung in ("quit", "SIGTERM")] == [False, True]
