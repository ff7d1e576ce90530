"""Figures: what is made of a guest's events, whatever clocks, daemons and files have done to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.history.figures import figures
from qsup.history.kept import Asked, Figures, Kept, Moment, Watch
from qsup.history.standing import READY

WALL = 1_700_000_000.0
"""The wall time at which the boot's clock showed 0."""


class Story:
    """A guest's history, told in seconds of the boot's clock."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.events: list[Kept] = []
        self.boot = "boot0"
        self.wall = WALL
        self.now = 0.0

    def at(self, now: float) -> Story:
        self.now = now
        return self

    def daemon(self, *, orderly: bool = False) -> Story:
        """A daemon begins to watch."""
        moment = self._moment()
        watch = Watch(
            id=len(self.watches) + 1, boot=self.boot, version="0.1.0", pid=1,
            began=moment, seen=moment, orderly=orderly,
        )  # fmt: skip
        self.watches.append(watch)
        return self

    def seen(self) -> Story:
        """The last sign of life of the present daemon."""
        last = self.watches[-1]
        self.watches[-1] = Watch(
            id=last.id, boot=last.boot, version="0.1.0", pid=1, began=last.began, seen=self._moment()
        )
        return self

    def event(self, kind: str, **data: Any) -> Story:
        moment = self._moment()
        number, watch = len(self.events) + 1, self.watches[-1].id
        self.events.append(Kept(number, watch, moment.wall, moment.now, number, "web1", kind, data))
        return self.seen()

    def phase(self, phase: str, *, wanted: str | None = "running", ready: bool | None = None) -> Story:
        told = {"phase": phase, "ready": phase == "running" if ready is None else ready}
        return self.event("GUEST_PHASE", **told, **({} if wanted is None else {"wanted": wanted}))

    def found(self, phase: str, *, adopted: bool = False, wanted: str = "running") -> Story:
        ready = phase == "running"
        return self.event("GUEST_FOUND", phase=phase, ready=ready, wanted=wanted, adopted=adopted)

    def ended(self, cause: str) -> Story:
        return self.event("GUEST_ENDED", cause=cause)

    def starts(self, now: float, *, takes: float = 1.0) -> Story:
        """It starts, and runs after so many seconds."""
        return self.at(now).phase("starting").at(now + takes).phase("running")

    def reboot(self, wall: float) -> Story:
        """The host boots; its clocks show 0 and the given wall time."""
        self.boot = f"boot{len(self.watches)}"
        self.wall, self.now = wall, 0.0
        return self

    def _moment(self) -> Moment:
        return Moment(self.wall + self.now, self.now)

    def told(self, since: float | None = None, *, watching: bool = True) -> Figures:
        """The figures now."""
        watch = self.watches[-1].id if watching else 0
        asked = Asked(self.boot, self._moment(), watch)
        found = figures(self.watches, self.events, asked, since)
        assert found is not None
        return found


def times(told: Figures) -> tuple[float, ...]:
    return tuple(round(part, 3) for part in (told.up, told.down, told.off, told.unwatched))


def test_a_run_and_a_stop_by_an_operator() -> None:
    story = Story().daemon().starts(10, takes=2).at(112).phase("stopping", wanted="stopped")
    told = story.at(115).ended("operator").phase("stopped", wanted="stopped").at(200).told()
    assert times(told) == (100, 2, 88, 0)
    assert told.availability is not None
    assert round(told.availability, 3) == 98.039
    assert (told.runs, told.failures, told.between_failures, told.to_recover) == (1, {}, None, None)
    assert (told.longest_run, told.to_ready) == (103, 2)
    assert told.since == WALL + 10


def test_failures_are_counted_and_an_outage_lasts_until_the_guest_is_ready_again() -> None:
    story = Story().daemon().starts(0, takes=2)
    story.at(100).ended("qemu-signal").phase("starting").at(101).ended("start-failed").phase("backoff")
    story.at(103).phase("starting").at(104).phase("running", ready=False).at(106).event(READY, after=3)
    story.at(200).ended("guest-panic").phase("backoff").starts(201, takes=1)
    told = story.at(300).told()
    assert told.failures == {"qemu-signal": 1, "start-failed": 1, "guest-panic": 1}
    assert told.to_recover == (6 + 2) / 2
    assert told.to_ready == 2, "of 2, 3 and 1 s; a start that failed is none of them"
    assert told.runs == 3
    assert times(told) == (98 + 94 + 98, 2 + 6 + 2, 0, 0)
    assert told.between_failures == (98 + 94 + 98) / 3


def test_a_guest_that_shuts_itself_down_does_not_fail_but_is_missed_while_it_is_wanted() -> None:
    story = Story().daemon().starts(0).at(11).ended("guest-shutdown").phase("stopped")
    told = story.at(20).told()
    assert (told.failures, times(told)) == ({}, (10, 10, 0, 0))
    assert times(story.phase("stopped", wanted="stopped").at(30).told()) == (10, 10, 10, 0)


@pytest.mark.parametrize("phase", ["paused", "unreachable", "stopping", "gave-up", "of-the-future"])
def test_a_guest_that_does_not_run_is_down(phase: str) -> None:
    assert times(Story().daemon().starts(0).at(11).phase(phase).at(21).told()) == (10, 11, 0, 0)


def test_a_pause_is_no_end_of_a_run() -> None:
    told = Story().daemon().starts(0).at(5).phase("paused").at(6).phase("running").at(11).told()
    assert (told.runs, told.longest_run, times(told)) == (1, 10, (9, 2, 0, 0))


def test_what_is_wanted_is_inferred_where_it_is_not_told() -> None:
    story = Story().daemon().at(0).phase("starting", wanted=None).at(1).phase("running", wanted=None)
    story.at(11).phase("stopping", wanted=None).at(12).ended("operator").phase("stopped", wanted=None)
    assert times(story.at(20).told()) == (10, 2, 8, 0)
    story.at(21).phase("starting", wanted=None).at(22).ended("start-failed").phase("gave-up", wanted=None)
    assert times(story.at(30).told()) == (10, 2 + 9, 9, 0)


def test_an_adopted_guest_was_up_while_nobody_watched() -> None:
    story = Story().daemon().starts(0).at(11).seen()
    # As an adopted guest does it: it comes to its phase anew, before all are found.
    story.at(100).daemon().at(101).phase("running").at(102).found("running", adopted=True)
    told = story.at(111).told()
    assert (told.runs, told.longest_run, times(told)) == (1, 110, (110, 1, 0, 0))


def test_a_guest_that_is_not_adopted_was_unwatched() -> None:
    story = Story().daemon().starts(0).at(11).seen()
    story.at(100).daemon().at(101).ended("unknown").phase("starting").at(102).phase("running").found(
        "running"
    )
    told = story.at(111).told()
    assert times(told) == (10 + 9, 2, 0, 90)
    assert (told.runs, told.longest_run, told.failures) == (2, 10, {"unknown": 1})
    assert told.to_recover == 1
    story.event("GUEST_EXIT_STATUS", status="signal 9", cause="qemu-signal")
    assert story.told().failures == {"qemu-signal": 1}, "its status came late"


def test_a_guest_found_dead_and_restarted_before_it_was_found_is_not_taken_for_the_old_one() -> None:
    story = Story().daemon().starts(0).at(11).seen().at(20).daemon()
    story.at(21).ended("unknown").phase("starting").at(22).phase("running").found("running", adopted=True)
    assert times(story.at(32).told()) == (20, 2, 0, 10)


def test_a_daemon_that_died_before_it_had_found_the_guest_tells_nothing_of_it() -> None:
    story = Story().daemon().starts(0).at(11).seen().at(20).daemon().at(21).phase("running")
    story.at(30).daemon().at(31).phase("running").found("running", adopted=True)
    told = story.at(41).told()
    assert (times(told), told.runs, told.longest_run) == ((40, 1, 0, 0), 1, 40)


def test_an_adopted_guest_that_was_paused_is_not_said_to_have_been_up() -> None:
    story = Story().daemon().starts(0).at(11).phase("paused").at(20).daemon().found("paused", adopted=True)
    told = story.at(30).told()
    assert (times(told), told.runs, told.longest_run) == ((10, 11, 0, 9), 1, 29)


def test_a_host_that_went_down_has_nobody_to_watch() -> None:
    story = Story().daemon().starts(0).at(11).seen().reboot(WALL + 1000)
    story.at(5).daemon().found("stopped").starts(6).at(17)
    assert times(story.told()) == (10 + 10, 1 + 2, 0, 994)


@pytest.mark.parametrize("jump", [-500.0, 0.0, 5000.0])
def test_a_jump_of_the_wall_clock_within_a_boot_changes_nothing(jump: float) -> None:
    story = Story().daemon().starts(0)
    story.wall += jump
    story.at(50).phase("paused").at(60).phase("running").at(70).seen()
    story.wall -= 2 * jump
    story.at(80).daemon().found("running", adopted=True)
    assert times(story.at(101).told()) == (90, 11, 0, 0)


def test_a_wall_clock_that_jumps_back_between_two_boots_makes_no_time() -> None:
    story = Story().daemon().starts(0).at(11).seen().reboot(WALL - 9999).daemon().found("stopped").starts(1)
    assert times(story.at(12).told()) == (20, 3, 0, 0)


def test_a_period_holds_what_happened_in_it() -> None:
    story = Story().daemon().starts(0).at(51).ended("qemu-exit").phase("starting").at(61).phase("running")
    told = story.at(161).told(WALL + 111)
    assert (times(told), told.runs, told.failures, told.longest_run) == ((50, 0, 0, 0), 1, {}, 50)
    assert told.since == WALL + 111
    told = story.told(WALL + 41)
    assert (times(told), told.failures, told.runs) == ((110, 10, 0, 0), {"qemu-exit": 1}, 2)
    assert story.told(WALL - 1000) == story.told()
    assert times(story.told(WALL + 1000)) == (0, 0, 0, 0), "a period that has not begun"


def test_lost_events_make_a_time_of_which_nothing_is_known() -> None:
    story = Story().daemon().starts(0)
    story.at(40).event("HISTORY_LOST", count=7, since=20.0).at(50).found("running")
    told = story.at(60).told()
    assert (times(told), told.runs, told.longest_run) == ((19 + 10, 1, 0, 30), 2, 19)


def test_nothing_is_said_of_a_daemon_whose_history_cannot_be_written() -> None:
    story = Story().daemon().starts(0).at(11).seen()
    assert times(story.at(21).told(watching=False)) == (10, 1, 0, 10)


def test_a_forgotten_guest_is_not_missed() -> None:
    story = Story().daemon().starts(0).at(11).ended("guest-shutdown").phase("stopped")
    assert times(story.event("GUEST_SPEC", change="forgotten").at(50).told()) == (10, 1, 39, 0)


def test_a_guest_of_which_nothing_is_known_has_no_figures() -> None:
    story = Story().daemon().event("GUEST_SPEC", change="added").event("GUEST_STRANGE", a=1)
    asked = Asked("boot0", Moment(WALL + 10, 10.0), 1)
    assert figures(story.watches, story.events, asked) is None
    assert figures([], [], asked) is None


PHASES = ["stopped", "starting", "running", "paused", "stopping", "backoff", "gave-up", "unreachable", "new"]
CAUSES = ["operator", "qemu-signal", "guest-shutdown", "unknown", "new"]
MOMENT = st.builds(Moment, st.floats(0, 2e9), st.floats(0, 1e7))
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(["", "x"])
)
DATA = st.one_of(
    st.fixed_dictionaries(
        {"phase": st.sampled_from(PHASES), "ready": st.booleans()},
        optional={"wanted": st.sampled_from(["running", "stopped"]), "adopted": st.booleans()},
    ),
    st.fixed_dictionaries({"cause": st.sampled_from(CAUSES)}),
    st.dictionaries(st.sampled_from(["phase", "ready", "wanted", "cause", "since", "change"]), ANYTHING),
)
KINDS = st.sampled_from(
    [
        "GUEST_PHASE",
        "GUEST_ENDED",
        "GUEST_FOUND",
        "GUEST_READY",
        "GUEST_EXIT_STATUS",
        "GUEST_SPEC",
        "HISTORY_LOST",
        "NEW",
    ]
)
BOOT = st.sampled_from(["a", "b"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Watch], list[Kept]]:
    """Anything that could lie in a file, in its order; clocks in it show whatever they like."""
    count = draw(st.integers(1, 4))
    watches = [
        Watch(id=1 + n, boot=draw(BOOT), version="1", pid=1, began=draw(MOMENT), seen=draw(MOMENT))
        for n in range(count)
    ]
    of = sorted(draw(st.lists(st.integers(1, count), max_size=20)))
    moments = [draw(MOMENT) for _ in of]
    events = [
        Kept(n, watch, moment.wall, moment.now, n, "g", draw(KINDS), draw(DATA))
        for n, (watch, moment) in enumerate(zip(of, moments, strict=True))
    ]
    return watches, events


@given(histories(), BOOT, MOMENT, st.integers(0, 5), st.one_of(st.none(), st.floats(-1e9, 3e9)))
def test_the_parts_make_the_period_and_nothing_is_negative(
    history: tuple[list[Watch], list[Kept]], boot: str, moment: Moment, watch: int, since: float | None
) -> None:
    told = figures(*history, Asked(boot, moment, watch), since)
    if told is None:
        return
    parts = (told.up, told.down, told.off, told.unwatched)
    assert all(part >= 0 for part in parts)
    assert told.until == moment.wall
    assert told.since >= 0
    period = sum(parts)
    if told.since > 0:
        assert period == pytest.approx(told.until - told.since, rel=1e-9, abs=1e-3)
    if told.availability is not None:
        assert 0 <= told.availability <= 100 + 1e-9
    assert all(count > 0 for count in told.failures.values())
    for value in (told.between_failures, told.to_recover, told.longest_run, told.to_ready):
        assert value is None or value >= 0
    assert told.longest_run is None or told.longest_run <= period + 1e-3
    assert (told.between_failures is None) == (not told.failures)


@given(histories(), MOMENT, st.integers(0, 5))
def test_a_shorter_period_holds_no_more_of_anything(
    history: tuple[list[Watch], list[Kept]], moment: Moment, watch: int
) -> None:
    asked = Asked("a", moment, watch)
    told = figures(*history, asked)
    if told is None:
        return
    middle = figures(*history, asked, (told.since + told.until) / 2)
    assert middle is not None
    assert all(
        getattr(middle, part) <= getattr(told, part) + 1e-3 for part in ("up", "down", "off", "unwatched")
    )
    assert middle.runs <= told.runs
    assert sum(middle.failures.values()) <= sum(told.failures.values())
