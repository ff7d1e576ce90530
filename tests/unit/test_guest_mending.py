"""What becomes of a guest whose helper has ended: the process is replaced, or the guest's policy is applied."""

from __future__ import annotations

import signal

import pytest

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import inputs
from qsup.guest.effects import Arm, AskAgent, Effect, Publish, Qmp, Signal, Spawn, StartHelper
from qsup.guest.state import Launch
from qsup.guest.turn import HELPERS
from qsup.phase import Phase, Verb
from qsup.spec.policy import Reaction, Restart, RestartOn, Stop, StopMethod
from qsup.status import ExitStatus
from qsup.units import Duration
from tests.unit.guest_states import LAUNCH, STATES, changed, restarting, walk

RUNNING = STATES[Phase.RUNNING]
KILLED = ExitStatus("signal", 9)
TPM = inputs.HelperExited("tpm", KILLED, "")
PASST = inputs.HelperExited("net-lan", KILLED, "", replaceable=True)
LEFT = inputs.Exited(ExitStatus("exit", 0), "")


def notices(effects: list[Effect]) -> list[str]:
    return [
        str(effect.data["message"])
        for effect in effects
        if isinstance(effect, Publish) and effect.kind is Kind.NOTICE
    ]


def starts(effects: list[Effect]) -> list[str]:
    return [effect.name for effect in effects if isinstance(effect, StartHelper)]


def delays(effects: list[Effect]) -> list[float]:
    return [effect.seconds for effect in effects if isinstance(effect, Arm) and effect.name == HELPERS]


def test_a_guest_whose_tpm_died_is_shut_down_and_started_again() -> None:
    spec = restarting(delay=Duration(0))
    state, effects = walk(RUNNING, TPM, spec=spec)
    assert state.phase is Phase.STOPPING
    assert any(isinstance(effect, AskAgent) for effect in effects)
    assert "helper-died: the helper tpm ended (signal 9 (SIGKILL))" in state.reason
    off = inputs.Happened("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    state, effects = walk(state, off, spec=spec)
    assert Qmp("quit") in effects
    state, effects = walk(state, LEFT, spec=spec)
    assert any(isinstance(effect, Spawn) for effect in effects)
    assert state.last_end is not None
    assert (state.last_end.cause, len(state.failures), state.restarts) == (Cause.HELPER_DIED, 1, 1)


def test_without_stop_methods_its_qemu_quits_at_once() -> None:
    _, effects = walk(RUNNING, TPM, spec=restarting(stop=Stop(methods=())))
    assert Qmp("quit") in effects


@pytest.mark.parametrize(
    ("policy", "rule", "phase"),
    [
        (Restart.ON_FAILURE, None, Phase.BACKOFF),
        (Restart.ALWAYS, None, Phase.BACKOFF),
        (Restart.NEVER, None, Phase.STOPPED),
        (Restart.NEVER, Reaction.RESTART, Phase.BACKOFF),
        (Restart.ALWAYS, Reaction.STOP, Phase.STOPPED),
    ],
)
def test_the_rule_decides_and_without_one_the_policy(
    policy: Restart, rule: Reaction | None, phase: Phase
) -> None:
    spec = restarting(policy=policy, on=RestartOn(helper_died=rule))
    state, _ = walk(RUNNING, TPM, LEFT, spec=spec)
    assert state.phase is phase
    assert state.last_end is not None
    assert state.last_end.cause is Cause.HELPER_DIED


def test_a_rule_can_let_it_run_on_without() -> None:
    state, effects = walk(RUNNING, TPM, spec=restarting(on=RestartOn(helper_died=Reaction.IGNORE)))
    assert state == RUNNING
    (told,) = (effect.data for effect in effects if isinstance(effect, Publish))
    assert (told["cause"], told["decision"]) == ("helper-died", 'restart.on.helper-died = "ignore"')
    assert told["detail"] == "the helper tpm ended (signal 9 (SIGKILL))"


def test_a_guest_that_is_kept_for_inspection_is_kept() -> None:
    kept = changed(STATES[Phase.PAUSED], run_state="guest-panicked")
    state, effects = walk(kept, TPM)
    assert state == kept
    assert len(notices(effects)) == 1


def test_an_operators_stop_on_the_way_down_has_the_last_word() -> None:
    state, _ = walk(RUNNING, TPM, inputs.Command(Verb.STOP, "root"), LEFT)
    assert state.phase is Phase.STOPPED
    assert state.last_end is not None
    assert state.last_end.cause is Cause.OPERATOR


def test_a_new_daemon_goes_on_with_the_ladder() -> None:
    spec = restarting(stop=Stop(methods=(StopMethod.ACPI,)))
    state, _ = walk(RUNNING, TPM, spec=spec)
    restored = inputs.Restored(same_boot=True, alive=LAUNCH)
    state, effects = walk(state, restored, inputs.Connected("running"), spec=spec)
    assert Qmp("system_powerdown") in effects
    state, _ = walk(state, LEFT, spec=spec)
    assert state.last_end is not None
    assert state.last_end.cause is Cause.HELPER_DIED


def test_a_helper_that_ends_before_the_guest_runs_fails_the_start_with_its_words() -> None:
    starting = changed(STATES[Phase.STARTING], launch=Launch(token="t", pid=7))
    taken = inputs.HelperExited("net-lan", ExitStatus("exit", 1), "passt: port taken\n", replaceable=True)
    state, effects = walk(starting, taken)
    assert Signal(signal.SIGKILL) in effects
    state, _ = walk(state, inputs.Exited(KILLED, "qemu: lost it\n"))
    assert state.last_end is not None
    assert state.last_end.cause is Cause.START_FAILED
    told = "before the guest ran, the helper net-lan ended (exit 1), its last words: passt: port taken"
    assert state.last_end.detail == told


def test_a_passt_is_replaced_at_once_and_later_ever_more_slowly() -> None:
    state, effects = walk(RUNNING, PASST)
    assert (state.phase, starts(effects)) == (Phase.RUNNING, ["net-lan"])
    waits = []
    for _ in range(9):
        state, effects = walk(state, PASST)
        assert starts(effects) == []
        waits += delays(effects)
        state, effects = walk(state, inputs.Timer(HELPERS))
        assert starts(effects) == ["net-lan"]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    _, effects = walk(state, PASST, now=1000.0)
    assert starts(effects) == ["net-lan"], "after a calm time it counts as the first"


def test_two_networks_that_fail_are_both_replaced() -> None:
    other = inputs.HelperExited("net-wan", KILLED, "", replaceable=True)
    state, _ = walk(RUNNING, PASST, PASST, other)
    _, effects = walk(state, inputs.Timer(HELPERS))
    assert starts(effects) == ["net-lan", "net-wan"]


def test_on_the_way_down_nothing_is_replaced() -> None:
    for exited in (TPM, PASST):
        state, effects = walk(STATES[Phase.STOPPING], exited)
        assert (state, effects) == (STATES[Phase.STOPPING], [])
