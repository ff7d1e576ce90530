"""Random lives of a guest, in a small world that keeps count of its processes.

The world answers the effects as a host would, and a QEMU that has been taken over may say anything at any time.
Whatever happens, there are never two processes, and an operator's stop is never answered with a start.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qsup.events import Kind
from qsup.guest import inputs
from qsup.guest.duties import duties
from qsup.guest.effects import Arm, Cancel, Effect, Persist, Publish, Reply, Signal, Spawn, StartHelper
from qsup.guest.state import Launch, State
from qsup.guest.step import step
from qsup.phase import ALIVE, ASKABLE, Phase, Verb, Wanted
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, Restart, RestartOn, RestartPolicy
from qsup.spec.tables.hang import Hang, Stage
from qsup.spec.tables.ready import Ready, ReadyCheck
from qsup.status import ExitStatus
from qsup.units import Duration
from tests.unit.guest_states import EVENTS, HELPERS, RUN_STATES, WATCHED, env

policies = st.builds(
    RestartPolicy,
    policy=st.sampled_from(Restart),
    delay=st.sampled_from([Duration(0), Duration(1)]),
    limit=st.integers(0, 3),
    on=st.builds(
        RestartOn,
        guest_panic=st.sampled_from([None, *Reaction]),
        guest_shutdown=st.sampled_from([None, *Reaction]),
        helper_died=st.sampled_from([None, Reaction.RESTART, Reaction.STOP, Reaction.IGNORE]),
        watchdog=st.sampled_from([None, *Reaction]),
        io_error=st.sampled_from([None, *Reaction]),
        guest_unhealthy=st.sampled_from([None, *Reaction]),
    ),
)
readiness = st.sampled_from([Ready(), Ready(check=ReadyCheck.AGENT)])
hangs = st.builds(
    Hang,
    qemu_stages=st.sampled_from([(), Hang().qemu_stages, (Stage.QUIT,)]),
    guest_stages=st.sampled_from([(), (Stage.NMI, Stage.RESET, Stage.QUIT, Stage.KILL)]),
)


class World(RuleBasedStateMachine):
    """One guest and the processes made for it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.durable = self.state
        self.spec = GuestSpec(name="web1")
        self.now = 0.0
        self.launching = 0
        self.processes = 0
        self.timers: set[str] = set()

    def happen(self, happened: inputs.Input) -> None:
        self.now += 1
        self.state, effects = step(self.state, happened, env(self.spec, now=self.now))
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Spawn():
                assert self.processes + self.launching == 0, "a second QEMU"
                assert self.state.wanted is Wanted.RUNNING
                self.launching += 1
            case Arm(name):
                self.timers.add(name)
            case Cancel(name):
                self.timers.discard(name)
            case Persist():
                self.durable = self.state
            case Publish(Kind.ENDED):
                assert self.processes == 0, "an end is told of a process that lives"
            case Publish() | Reply():
                asked = {self.durable.phase, self.state.phase} <= ASKABLE
                assert asked or self.durable.phase == self.state.phase, "told before it was written"
            case Signal() | StartHelper():
                assert self.processes == 1
            case _:
                pass

    @rule(policy=policies, ready=readiness, hang=hangs)
    def edit(self, policy: RestartPolicy, ready: Ready, hang: Hang) -> None:
        self.spec = GuestSpec(name="web1", restart=policy, ready=ready, hang=hang)

    @rule(verb=st.sampled_from(Verb))
    def command(self, verb: Verb) -> None:
        self.happen(inputs.Command(verb, "root"))

    @rule()
    def turn_at_start_up(self) -> None:
        self.happen(inputs.Due())

    @precondition(lambda self: self.launching)
    @rule(works=st.booleans())
    def launch(self, works: bool) -> None:
        self.launching -= 1
        if works:
            self.processes += 1
            self.happen(inputs.Spawned("0" * 16, 7, "tcg"))
        else:
            self.happen(inputs.LaunchFailed("no such image"))

    @precondition(lambda self: self.processes)
    @rule(run_state=st.sampled_from(RUN_STATES), works=st.booleans())
    def connect(self, run_state: str, works: bool) -> None:
        self.happen(inputs.Connected(run_state) if works else inputs.ConnectFailed("silent"))

    @precondition(lambda self: self.processes)
    @rule(event=st.sampled_from(EVENTS))
    def say(self, event: tuple[str, dict[str, Any]]) -> None:
        self.happen(inputs.Happened(*event))

    @precondition(lambda self: self.processes)
    @rule(run_state=st.sampled_from(RUN_STATES))
    def answer(self, run_state: str) -> None:
        self.happen(inputs.RunState(run_state))

    @precondition(lambda self: self.processes)
    @rule(exited=st.sampled_from(HELPERS))
    def lose_helper(self, exited: inputs.HelperExited) -> None:
        self.happen(exited)

    @precondition(lambda self: self.processes)
    @rule(seen=st.sampled_from(WATCHED))
    def watch(self, seen: inputs.Input) -> None:
        self.happen(seen)

    @precondition(lambda self: self.processes)
    @rule()
    def lose_session(self) -> None:
        self.happen(inputs.Lost("EOF"))

    @precondition(lambda self: self.processes)
    @rule(status=st.sampled_from([None, ExitStatus("exit", 0), ExitStatus("signal", 9)]))
    def end(self, status: ExitStatus | None) -> None:
        self.processes -= 1
        self.happen(inputs.Exited(status, ""))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.timers)))
        self.timers.discard(name)
        self.happen(inputs.Timer(name))

    @rule(died=st.booleans(), same_boot=st.booleans())
    def new_daemon(self, died: bool, same_boot: bool) -> None:
        """The daemon is killed; what was not persisted is lost, a launch may have got as far as a process or not."""
        self.state, self.timers = self.durable, set()
        self.processes += self.launching
        self.launching = 0
        exited = inputs.Exited(None, "") if self.processes else None
        if died or not same_boot:
            self.processes = 0
        alive = Launch(token="0" * 16, pid=7, adopted=True) if self.processes else None
        self.happen(inputs.Restored(same_boot=same_boot, alive=alive, exited=exited))

    @invariant()
    def the_phase_tells_the_truth_about_the_process(self) -> None:
        assert (self.state.phase in ALIVE) == (self.processes + self.launching == 1)
        assert (self.state.phase is Phase.BACKOFF) == (self.state.next_try is not None)

    @invariant()
    def only_what_lives_is_watched_and_only_what_runs_is_ready(self) -> None:
        assert self.processes or not duties(self.state, self.spec)
        assert not self.state.ready or self.state.phase is Phase.RUNNING
        assert self.state.ill is None or self.state.launch is not None

    @invariant()
    def a_delay_has_a_timer(self) -> None:
        assert self.state.phase is not Phase.BACKOFF or "backoff" in self.timers


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
