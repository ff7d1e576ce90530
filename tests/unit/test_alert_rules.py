"""Which events cause which alerts, what is told of them, and how often."""

from __future__ import annotations

import email
import json
from collections import deque
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.alerts import limit as limits
from qsup.alerts.limit import Limit
from qsup.alerts.mail import email as make_email
from qsup.alerts.message import LIMIT, Message
from qsup.alerts.rules import Happening, Happenings, Rule
from qsup.cause import Cause
from qsup.events import Event, Kind
from qsup.phase import Phase
from qsup.spec.tables.alert import Alert

AT = 1_700_000_000.0
ISO = "2026-05-04T10:33:24.236+02:00"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=2 * LIMIT)
"""With lone surrogates as well, which JSON of a hostile QEMU can hold."""


TOLD = Happening(
    guest="web1",
    at=AT,
    cause="qemu-signal",
    phase="backoff",
    entered=True,
    detail="signal 9 ended QEMU",
    decision="restart in 1 s",
)


def ended(cause: str = "qemu-signal", name: str = "web1") -> Event:
    return Event(
        1,
        AT,
        Kind.ENDED,
        {
            "name": name,
            "cause": cause,
            "detail": "signal 9 ended QEMU",
            "decision": "restart in 1 s",
            "status": None,
        },
    )


def phase(now: str, was: str, reason: str = "as it is", name: str = "web1", **more: Any) -> Event:
    data = {"name": name, "phase": now, "was": was, "ready": False, "reason": reason, **more}
    return Event(2, AT, Kind.PHASE, data)


def happenings(*events: Event) -> list[Happening]:
    """What happened by these events, in one breath."""
    found = Happenings()
    return [happened for event in events for happened in found.of(event)] + list(found.rest())


def alert(**keys: Any) -> Alert:
    return Alert(name="ops", command=("/bin/true",), **keys)


def caused(declared: Alert, *events: Event) -> list[tuple[str | None, str | None]]:
    """Cause and phase of each message that the alert sends about the events."""
    rule = Rule(declared)
    return [(one.cause, one.phase) for one in happenings(*events) if rule.wants(one)]


# From events to what happened


def test_an_end_and_the_phase_that_follows_from_it_are_one_happening() -> None:
    backoff = phase("backoff", "running")
    for events in ((ended(), backoff), (backoff, ended())):
        assert happenings(*events) == [TOLD]
    starting = phase("starting", "backoff")
    assert [one.phase for one in happenings(ended(), backoff, starting)] == ["backoff", "starting"]
    assert [one.cause for one in happenings(ended(), ended("qemu-exit"), backoff)] == [
        "qemu-signal",
        "qemu-exit",
    ]


def test_an_end_that_no_phase_follows_is_told_all_the_same() -> None:
    other = phase("paused", "running", name="web2")
    found = Happenings()
    for event in (phase("paused", "running"), phase("running", "paused")):
        list(found.of(event))
    assert len(list(found.rest())) == 1
    assert [list(found.of(event)) for event in (ended(), other)] == [[], []]
    assert [one.guest for one in found.rest(ends=False)] == ["web2"]
    assert found.pending
    (happened,) = found.rest()
    assert (happened.cause, happened.phase, happened.entered) == ("qemu-signal", "running", False)


def test_an_end_waits_for_its_phase_and_trouble_does_not() -> None:
    found = Happenings()
    trouble = Event(3, AT, Kind.TROUBLE, {"name": "web2", "cause": "guest-hung", "detail": "it hangs"})
    assert [list(found.of(event)) for event in (ended(), trouble)] == [[], []]
    assert [one.guest for one in found.rest(ends=False)] == ["web2"]
    assert list(found.of(phase("backoff", "running"))) == []
    assert list(found.rest(ends=False)) == [TOLD]
    assert not found.pending


def test_a_new_reason_for_the_same_phase_is_no_news() -> None:
    assert happenings(phase("paused", "paused", reason="now for another reason")) == []


def test_a_guest_that_a_new_daemon_finds_running_has_come_to_nothing() -> None:
    notice = Event(1, AT, Kind.NOTICE, {"name": "web1", "message": "adopted: QEMU's pid is 4711"})
    declared = alert(phases=[Phase.RUNNING, Phase.PAUSED])
    found = phase("running", "starting")
    assert caused(declared, notice, found) == []
    assert caused(declared, notice, phase("paused", "starting")) == [(None, "paused")]
    assert caused(declared, phase("starting", "stopped"), found) == [(None, "running")]


def test_the_status_of_an_end_is_news_if_it_names_another_cause() -> None:
    status = Event(3, AT, Kind.STATUS, {"name": "web1", "status": "signal 9", "cause": "qemu-signal"})
    assert [one.cause for one in happenings(ended("unknown"), phase("backoff", "running"), status)] == [
        "unknown",
        "qemu-signal",
    ]
    told = happenings(ended("qemu-signal"), phase("backoff", "running"), status, status)
    assert [one.cause for one in told] == ["qemu-signal"]


def test_any_other_event_with_a_cause_counts_for_that_cause() -> None:
    trouble = Event(3, AT, Kind.TROUBLE, {"name": "web1", "cause": "guest-hung", "detail": "it hangs"})
    over = Event(4, AT, Kind.RECOVERED, {"name": "web1", "cause": "guest-hung", "detail": "well", "after": 9})
    (happened,) = happenings(trouble, over)
    assert (happened.cause, happened.detail, happened.entered) == ("guest-hung", "it hangs", False)
    assert caused(alert(causes=[Cause.GUEST_HUNG]), trouble) == [("guest-hung", None)]


def test_a_forgotten_guest_leaves_nothing_behind() -> None:
    found = Happenings()
    for number in range(100):
        name = f"web{number}"
        gone = {"name": name, "change": "forgotten", "paths": []}
        for event in (
            ended(name=name),
            phase("stopped", "running", name=name),
            Event(3, AT, Kind.SPEC, gone),
        ):
            list(found.of(event))
    assert len(list(found.rest())) == 100
    assert (found._known, found.pending) == ({}, False)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(Kind),
                "name": st.sampled_from(["a", "b", None]),
                "cause": st.sampled_from(Cause),
                "phase": st.sampled_from(Phase),
                "was": st.sampled_from(Phase),
                "change": st.sampled_from(["forgotten", "changed"]),
            }
        )
    )
)
def test_every_end_is_told_exactly_once_whatever_else_is_announced(announced: list[dict[str, Any]]) -> None:
    events = [
        Event(number, AT, facts.pop("kind"), facts | {"detail": f"#{number}"})
        for number, facts in enumerate(announced)
    ]
    told = [one.detail for one in happenings(*events)]
    ends = [event.data["detail"] for event in events if event.kind is Kind.ENDED and event.guest]
    assert sorted(detail for detail in told if detail in ends) == sorted(ends)


# Which alerts


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({"causes": [Cause.QEMU_SIGNAL]}, 1),
        ({"causes": [Cause.QEMU_EXIT]}, 0),
        ({"phases": [Phase.BACKOFF]}, 1),
        ({"phases": [Phase.GAVE_UP, Phase.RUNNING]}, 0),
        ({"causes": [Cause.QEMU_SIGNAL], "phases": [Phase.BACKOFF]}, 1),
        ({"causes": [Cause.QEMU_SIGNAL], "guests": ["web*"]}, 1),
        ({"causes": [Cause.QEMU_SIGNAL], "guests": ["db*", "web1"]}, 1),
        ({"causes": [Cause.QEMU_SIGNAL], "guests": ["web", "eb1", "WEB1", "web1\n"]}, 0),
    ],
)
def test_an_alert_is_caused_by_its_causes_and_phases_for_its_guests(keys: dict[str, Any], sent: int) -> None:
    assert len(caused(alert(**keys), ended(), phase("backoff", "running"))) == sent


@given(st.lists(st.text(st.sampled_from("web1*?[]!-\\^|()"), max_size=12), min_size=1, max_size=5))
def test_no_globs_make_an_alert_unusable(globs: list[str]) -> None:
    caused(alert(causes=[Cause.QEMU_SIGNAL], guests=globs), ended())


# What is told


def message(**facts: Any) -> Message:
    happened = Happening(
        **{
            "guest": "web1",
            "at": AT,
            "cause": "qemu-signal",
            "phase": "backoff",
            "entered": True,
            "detail": "signal 9 ended QEMU",
            "decision": "restart in 1 s",
            **facts,
        }
    )
    return Message.of(happened, "ops", at=ISO, host="kvm7", suppressed=2)


def test_the_json_has_the_shape_that_readme_promises() -> None:
    assert json.loads(message().json()) == {
        "alert": "ops",
        "guest": "web1",
        "cause": "qemu-signal",
        "phase": "backoff",
        "detail": "signal 9 ended QEMU",
        "decision": "restart in 1 s",
        "bundle": None,
        "at": ISO,
        "host": "kvm7",
        "suppressed": 2,
        "test": False,
        "subject": "[qsup] web1 on kvm7: qemu-signal, backoff",
        "text": (
            "[qsup] web1 on kvm7: qemu-signal, backoff\n\nsignal 9 ended QEMU\nWhat was decided: restart in 1 s\n"
            f"At: {ISO}\nLeft out since the last message: 2 more about web1\n"
            "This is alert ops; `qsup why web1` tells more.\n"
        ),
    }


def test_the_environment_has_every_fact_and_is_empty_where_one_is_not_known() -> None:
    assert message(cause=None, decision=None).environment() == {
        "QSUP_ALERT": "ops",
        "QSUP_GUEST": "web1",
        "QSUP_CAUSE": "",
        "QSUP_PHASE": "backoff",
        "QSUP_DETAIL": "signal 9 ended QEMU",
        "QSUP_DECISION": "",
        "QSUP_BUNDLE": "",
        "QSUP_AT": ISO,
        "QSUP_HOST": "kvm7",
        "QSUP_SUPPRESSED": "2",
        "QSUP_TEST": "0",
        "QSUP_SUBJECT": "[qsup] web1 on kvm7: backoff",
    }


@given(ANY_TEXT, ANY_TEXT)
def test_no_text_of_a_guest_gets_anywhere_as_it_is(detail: str, decision: str) -> None:
    made = message(detail=detail, decision=decision)
    for value in made.environment().values():
        assert value.isprintable()
        assert len(value.encode()) < 16_000
        assert b"\0" not in value.encode()
    assert json.loads(made.json())["detail"] == made.detail
    assert made.text.count("\n") <= 8
    assert len(made.json()) < 64_000


@given(ANY_TEXT, ANY_TEXT)
def test_a_mail_says_what_the_message_says_and_no_header_can_be_put_into_it(detail: str, host: str) -> None:
    made = Message.of(
        Happening("web1", AT, detail, "backoff", True, detail), "ops", at=ISO, host=host, suppressed=0
    )
    raw = make_email(made, ["root", "ops@example.org"], "id")
    read = email.message_from_bytes(raw, _class=EmailMessage, policy=default)
    assert not read.defects
    assert sorted(read.keys()) == sorted(
        [
            "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Qsup-Alert", "X-Qsup-Guest",
            "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
        ]
    )  # fmt: skip
    assert [str(address) for address in read["To"].addresses] == ["root", "ops@example.org"]
    assert len(read["From"].addresses) == 1
    assert read.get_content() == made.text
    assert max(len(line) for line in raw.split(b"\n")) < 998
    assert b"\r" not in raw


# How often


class Naive:
    """The limit as it is said: look at all that was ever sent."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.left_out = 0

    def admit(self, most: int, window: float, now: float) -> int | None:
        if len([at for at in self.sent if at > now - window]) >= most:
            self.left_out += 1
            return None
        self.sent.append(now)
        told, self.left_out = self.left_out, 0
        return told


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20)), max_size=80),
    st.integers(1, 5),
    st.floats(1, 30),
)
def test_never_more_than_the_limit_within_any_window_and_none_is_left_out_silently(
    steps: list[tuple[str, float]], most: int, window: float
) -> None:
    limit, naive, now = Limit(), {"a": Naive(), "b": Naive()}, 0.0
    for guest, pause in steps:
        now += pause
        assert limit.admit("ops", guest, most, window, now) == naive[guest].admit(most, window, now)
    assert all(len(count.times) <= most for count in limit._counts.values())


def test_alerts_count_apart_and_what_an_edit_allows_counts_at_once() -> None:
    limit = Limit()
    assert [limit.admit("ops", "web1", 2, 60, now) for now in (0, 1, 2)] == [0, 0, None]
    assert limit.admit("dev", "web1", 2, 60, 2) == 0
    assert limit.admit("ops", "web1", 3, 60, 3) == 1
    assert [limit.admit("ops", "web1", 1, 60, now) for now in (4, 60, 63, 64)] == [None, None, 2, None]


def test_the_memory_for_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COUNTED", 3)
    limit = Limit()
    for guest in "abcd":
        assert limit.admit("ops", guest, 1, 60, 0) == 0
    assert limit.admit("ops", "d", 1, 60, 0) is None
    assert limit.admit("ops", "a", 1, 60, 0) == 0, "the one that was quiet for longest was forgotten"
    assert deque(limit._counts) == deque([("ops", "c"), ("ops", "d"), ("ops", "a")])
