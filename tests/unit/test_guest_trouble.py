"""What is wrong with a guest that lives: disks, watchdogs, crash kernels, reboot loops."""

from __future__ import annotations

from typing import Any

import pytest

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import disks, inputs
from qsup.guest.duties import Watch, duties
from qsup.guest.effects import Arm, Collect, Effect, Publish, Qmp, QueryStatus
from qsup.guest.state import State
from qsup.guest.step import step
from qsup.guest.turn import CALM
from qsup.phase import Phase
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, Restart, RestartOn
from qsup.spec.tables.watchdog import Watchdog, WatchdogAction, WatchdogModel
from qsup.status import ExitStatus
from tests.unit.guest_states import SPEC, STATES, changed, env, restarting, walk

RUNNING = STATES[Phase.RUNNING]
LEFT = inputs.Exited(ExitStatus("exit", 0), "")
FULL = inputs.Happened(
    "BLOCK_IO_ERROR", {"node-name": "disk-root", "nospace": True, "action": "stop", "operation": "write"}
)
BAD = inputs.Happened(
    "BLOCK_IO_ERROR", {"node-name": "disk-root", "nospace": False, "action": "stop", "operation": "read"}
)
STOPPED = inputs.RunState("io-error")


def commands(effects: list[Effect]) -> list[str]:
    return [effect.command for effect in effects if isinstance(effect, Qmp)]


def told(effects: list[Effect], kind: Kind = Kind.TROUBLE) -> list[dict[str, Any]]:
    return [effect.data for effect in effects if isinstance(effect, Publish) and effect.kind is kind]


def watched(state: State, spec: GuestSpec = SPEC) -> set[Watch]:
    return {duty.watch for duty in duties(state, spec)}


def test_a_full_disk_pauses_the_guest_until_there_is_room() -> None:
    _, effects = walk(RUNNING, FULL, inputs.Happened("STOP", {}))
    assert any(isinstance(effect, QueryStatus) for effect in effects)
    state, effects = walk(RUNNING, FULL, STOPPED)
    assert state.phase is Phase.PAUSED
    assert state.reason.startswith("no-space: the host has no room for the disk root")
    assert [trouble["cause"] for trouble in told(effects)] == ["no-space"]
    assert Watch.SPACE in watched(state)
    state, effects = walk(state, inputs.Space("2 GiB are free"))
    assert commands(effects) == ["cont"]
    state, effects = walk(state, inputs.Happened("RESUME", {}))
    assert (state.phase, state.ill) == (Phase.RUNNING, None)
    assert told(effects, Kind.RECOVERED)[0]["cause"] == "no-space"
    assert Watch.SPACE not in watched(state)


def test_a_daemon_that_comes_later_heals_it_too() -> None:
    kept = changed(STATES[Phase.PAUSED], run_state="io-error")
    state, _ = walk(kept, FULL, STOPPED)
    assert Watch.SPACE in watched(state)


def test_an_io_error_pauses_until_somebody_resumes_it() -> None:
    state, _ = walk(RUNNING, BAD, STOPPED)
    assert state.reason.startswith(
        "io-error: the disk root met an error at a read; no rule for io-error: mend"
    )
    assert Watch.SPACE not in watched(state)


def test_an_io_error_is_tried_again_ever_later_if_a_rule_says_so() -> None:
    spec = restarting(on=RestartOn(io_error=Reaction.IGNORE))
    state = RUNNING
    waits: list[float] = []
    for number in range(8):
        state, effects = walk(state, BAD, STOPPED, spec=spec, now=200.0 + number)
        waits += [effect.seconds for effect in effects if isinstance(effect, Arm) and effect.name == CALM]
        state, effects = walk(state, inputs.Timer(CALM), spec=spec, now=201.0 + number)
        assert commands(effects) == ["cont"]
        state, _ = walk(state, inputs.Happened("RESUME", {}), spec=spec, now=201.0 + number)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    state, effects = walk(state, BAD, STOPPED, spec=spec, now=201.0 + disks.CALM_AFTER + 20)
    assert Arm(CALM, disks.FIRST_WAIT) in effects


@pytest.mark.parametrize(
    ("reaction", "commanded", "phase"),
    [
        (Reaction.RESTART, ["quit"], Phase.STOPPING),
        (Reaction.STOP, ["quit"], Phase.STOPPING),
        (Reaction.RESET, ["set-action", "system_reset", "cont"], Phase.RUNNING),
        (Reaction.PAUSE, [], Phase.PAUSED),
    ],
)
def test_the_rule_for_an_io_error_is_applied(reaction: Reaction, commanded: list[str], phase: Phase) -> None:
    spec = restarting(on=RestartOn(io_error=reaction))
    state, effects = walk(RUNNING, BAD, STOPPED, spec=spec)
    assert (commands(effects), state.phase) == (commanded, phase)
    if phase is Phase.STOPPING:
        state, _ = walk(state, LEFT, spec=spec)
        assert state.last_end is not None
        assert state.last_end.cause is Cause.IO_ERROR


def test_an_error_that_the_guest_is_told_of_is_told_once_a_minute() -> None:
    event = inputs.Happened(
        "BLOCK_IO_ERROR", {"device": "", "qom-path": "/machine/x/disk-root/y", "action": "report"}
    )
    state, effects = step(RUNNING, event, env(now=10.0))
    assert "disk root" in told(effects)[0]["detail"]
    state, effects = step(state, event, env(now=30.0))
    assert told(effects) == []
    state, effects = step(state, event, env(now=80.0))
    assert len(told(effects)) == 1


def test_a_damaged_image_pauses_the_guest() -> None:
    event = inputs.Happened(
        "BLOCK_IMAGE_CORRUPTED", {"node-name": "disk-root", "msg": "L2 overlap", "fatal": True}
    )
    state, effects = walk(RUNNING, event)
    assert commands(effects) == ["stop"]
    assert state.reason.startswith("image-corrupt: the image of the disk root is damaged: L2 overlap")
    assert any(isinstance(effect, Collect) for effect in effects)
    harmless = inputs.Happened(
        "BLOCK_IMAGE_CORRUPTED", {"node-name": "disk-root", "msg": "x", "fatal": False}
    )
    state, effects = walk(RUNNING, harmless)
    assert state.phase is Phase.RUNNING
    assert told(effects)


def test_a_reset_by_the_watchdog_is_the_watchdogs() -> None:
    fired = inputs.Happened("WATCHDOG", {"action": "reset"})
    reset = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
    state, effects = walk(RUNNING, fired, reset)
    assert told(effects)[0]["cause"] == "watchdog"
    _, effects = walk(state, reset, now=300.0)
    assert told(effects) == []


def test_a_rule_for_the_watchdog_is_applied_where_it_stops_the_guest() -> None:
    fired = inputs.Happened("WATCHDOG", {"action": "pause"})
    standing = inputs.RunState("watchdog")
    state, effects = walk(RUNNING, fired, standing)
    assert state.phase is Phase.PAUSED
    spec = restarting(on=RestartOn(watchdog=Reaction.RESTART))
    state, effects = walk(RUNNING, fired, standing, spec=spec)
    assert commands(effects) == ["quit"]
    state, _ = walk(state, LEFT, spec=spec)
    assert state.phase is Phase.BACKOFF
    assert state.last_end is not None
    assert state.last_end.cause is Cause.WATCHDOG


def test_a_crash_kernel_is_left_to_its_work_and_its_reset_is_told_as_what_it_is() -> None:
    loaded = inputs.Happened("GUEST_CRASHLOADED", {"action": "run"})
    state, effects = walk(RUNNING, loaded)
    assert (state.phase, commands(effects)) == (Phase.RUNNING, [])
    _, effects = walk(state, inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"}))
    assert told(effects)[0]["cause"] == "guest-crashloaded"


def test_a_guest_that_resets_itself_again_and_again_is_given_up() -> None:
    reset = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
    state, effects = walk(RUNNING, *[reset] * 4)
    assert state.phase is Phase.RUNNING
    state, effects = walk(state, reset, now=204.0)
    assert commands(effects) == ["quit"]
    assert state.ending is not None
    assert state.ending.cause is Cause.REBOOT_LOOP
    state, _ = walk(state, LEFT)
    assert state.phase is Phase.GAVE_UP
    assert "5 times within 10 min" in state.reason


def test_resets_of_one_moment_are_one() -> None:
    reset = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
    state = RUNNING
    for number in range(20):
        state, _ = step(state, reset, env(now=200.0 + number / 100))
    assert (state.phase, len(state.resets)) == (Phase.RUNNING, 1)


def test_resets_that_are_far_between_are_no_loop() -> None:
    reset = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
    state = RUNNING
    for number in range(30):
        state, _ = step(state, reset, env(now=200.0 + 150.1 * number))
    assert state.phase is Phase.RUNNING


def test_a_loop_through_new_processes_counts_too() -> None:
    spec = restarting(on=RestartOn(guest_reset=Reaction.RESTART))
    ended = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-reset"})
    state = RUNNING
    for number in range(5):
        again = changed(RUNNING, resets=state.resets, failures=state.failures, streak=state.streak)
        state, _ = walk(again, ended, LEFT, spec=spec, now=200.0 + 10 * number)
    assert state.phase is Phase.GAVE_UP


@pytest.mark.parametrize(
    ("policy", "on", "phase"),
    [
        (Restart.NEVER, RestartOn(), Phase.RUNNING),
        (Restart.ON_FAILURE, RestartOn(reboot_loop=Reaction.IGNORE), Phase.RUNNING),
        (Restart.ON_FAILURE, RestartOn(reboot_loop=Reaction.PAUSE), Phase.PAUSED),
        (Restart.NEVER, RestartOn(reboot_loop=Reaction.STOP), Phase.STOPPING),
    ],
)
def test_a_rule_for_reboot_loops_is_applied(policy: Restart, on: RestartOn, phase: Phase) -> None:
    reset = inputs.Happened("RESET", {"guest": True, "reason": "guest-reset"})
    state, effects = walk(RUNNING, *[reset] * 5, spec=restarting(policy=policy, on=on))
    assert state.phase is phase
    if phase is not Phase.STOPPING:
        assert told(effects)[0]["cause"] == "reboot-loop"


def test_the_words_of_a_panic_go_with_it() -> None:
    event = inputs.Happened("GUEST_PANICKED", {"action": "pause"}, printed="Kernel panic - not syncing: x")
    state, effects = walk(RUNNING, event)
    state, effects = walk(state, LEFT)
    assert state.last_end is not None
    assert state.last_end.detail == "the guest's kernel panicked: Kernel panic - not syncing: x"
    (collected,) = (effect for effect in effects if isinstance(effect, Collect))
    assert collected.id == state.last_end.bundle


def test_an_orderly_end_leaves_no_bundle() -> None:
    off = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    state, effects = walk(RUNNING, off, LEFT)
    assert state.last_end is not None
    assert state.last_end.bundle is None
    assert not any(isinstance(effect, Collect) for effect in effects)


REST = restarting(on=RestartOn(guest_reset=Reaction.STOP))
UNSEEN = changed(RUNNING, connected=False, run_state=None)


@pytest.mark.parametrize(
    ("rests_by", "spec", "cause"),
    [
        ("guest-reset", REST, Cause.GUEST_RESET),
        ("triple-fault", restarting(on=RestartOn(triple_fault=Reaction.STOP)), Cause.TRIPLE_FAULT),
        ("guest-shutdown", REST, Cause.GUEST_SHUTDOWN),
        (None, SPEC, Cause.GUEST_SHUTDOWN),
        (None, REST, Cause.UNKNOWN),
    ],
)
def test_what_brought_a_guest_to_rest_unseen_is_what_it_is_ended_for(
    rests_by: str | None, spec: GuestSpec, cause: Cause
) -> None:
    state, effects = walk(UNSEEN, inputs.Connected("shutdown", rests_by), spec=spec)
    assert state.ending is not None
    assert state.ending.cause is cause
    assert commands(effects) == ["quit"]


def test_a_reset_that_no_rule_is_for_is_made_up_for_whenever_it_is_found() -> None:
    spec = restarting(on=RestartOn(triple_fault=Reaction.STOP))
    state, effects = walk(UNSEEN, inputs.Connected("shutdown", "guest-reset"), spec=spec)
    assert commands(effects) == ["set-action", "system_reset", "cont"]
    assert state.phase is Phase.RUNNING


def test_a_question_that_overtakes_the_answer_to_a_reset_changes_nothing() -> None:
    spec = restarting(on=RestartOn(triple_fault=Reaction.STOP))
    event = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-reset"})
    state, effects = walk(RUNNING, event, spec=spec)
    assert commands(effects) == ["set-action", "system_reset", "cont"]
    state, effects = walk(state, inputs.Happened("STOP", {}), inputs.RunState("shutdown"), spec=spec)
    assert (commands(effects), state.ending) == ([], None)
    off = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    state, _ = walk(state, inputs.Happened("RESUME", {}), off, spec=spec)
    assert state.ending is not None
    assert state.ending.cause is Cause.GUEST_SHUTDOWN


def test_an_image_that_was_found_damaged_is_told_of_once() -> None:
    late = inputs.Happened(
        "BLOCK_IMAGE_CORRUPTED", {"qom-path": "/machine/x/disk-root/y", "fatal": True}, late=True
    )
    state, effects = walk(RUNNING, late)
    assert told(effects)[0]["detail"] == "the image of the disk root is damaged"
    assert state.phase is Phase.PAUSED
    assert state.ill is not None
    again, effects = walk(state, inputs.Restored(same_boot=True, alive=state.launch), late)
    assert told(effects) == []
    assert again.ill is not None
    again, effects = walk(again, inputs.Connected("io-error"))
    assert told(effects) == [], "what it is stopped by is known"


def test_a_watchdog_that_powers_off_ends_the_guest_by_us() -> None:
    spec = GuestSpec(
        name="web1", watchdog=Watchdog(model=WatchdogModel.IB700, action=WatchdogAction.POWEROFF)
    )
    state, effects = walk(RUNNING, inputs.RunState("watchdog"), spec=spec)
    assert commands(effects) == ["quit"]
    state, effects = walk(state, LEFT, spec=spec)
    assert state.last_end is not None
    assert (state.phase, state.last_end.cause) == (Phase.STOPPED, Cause.WATCHDOG)
