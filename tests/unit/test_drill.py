"""What a drill should come to, by the guest's own file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from qsup.cause import Cause
from qsup.cli.arguments import DRILLS
from qsup.drill.plan import Kind, Seen, compare, plan
from qsup.errors import Refused
from qsup.phase import Phase
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, Restart, RestartOn, RestartPolicy
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.disk import Disk
from qsup.spec.tables.drill import Drill
from qsup.spec.tables.hang import Hang, Stage
from qsup.spec.tables.panic import Panic
from qsup.spec.tables.tpm import Tpm

SPEC = GuestSpec(
    name="web1",
    drill=Drill(allowed=True, panic="c", hang="h", triple_fault="t"),
    panic=Panic(enabled=True),
    tpm=Tpm(enabled=True),
    disk={"root": Disk(file="/root.qcow2")},  # type: ignore[arg-type]
)
UP = 3600.0


def changed(**changes: object) -> GuestSpec:
    return msgspec.structs.replace(SPEC, **changes)


@pytest.mark.parametrize(
    ("kind", "accel", "cause", "after", "anew"),
    [
        (Kind.KILL, "kvm", Cause.QEMU_SIGNAL, Phase.RUNNING, True),
        (Kind.PANIC, "kvm", Cause.GUEST_PANIC, Phase.RUNNING, True),
        (Kind.TRIPLE_FAULT, "tcg", Cause.TRIPLE_FAULT, Phase.RUNNING, False),
        (Kind.TRIPLE_FAULT, "kvm", Cause.GUEST_RESET, Phase.RUNNING, False),
        (Kind.ENOSPC, "kvm", Cause.NO_SPACE, Phase.RUNNING, False),
        (Kind.HELPER, "kvm", Cause.HELPER_DIED, Phase.RUNNING, True),
        (Kind.STOP_QEMU, "kvm", Cause.QEMU_STOPPED, Phase.RUNNING, False),
        (Kind.HANG, "kvm", Cause.GUEST_HUNG, Phase.RUNNING, False),
    ],
)
def test_the_file_says_what_follows(kind: Kind, accel: str, cause: Cause, after: Phase, anew: bool) -> None:
    made = plan(kind, SPEC, accel, UP)
    assert (made.cause, made.after, made.anew) == (cause, after, anew)
    assert 0 <= made.noticed[0] < made.noticed[1] < made.within


def test_rules_and_policies_change_it() -> None:
    never = changed(restart=RestartPolicy(policy=Restart.NEVER))
    assert plan(Kind.KILL, never, "kvm", UP).after is Phase.STOPPED
    kept = changed(restart=RestartPolicy(on=RestartOn(guest_panic=Reaction.PAUSE)))
    assert plan(Kind.PANIC, kept, "kvm", UP).after is Phase.PAUSED
    killed = changed(hang=Hang(qemu_stages=(Stage.KILL,)))
    made = plan(Kind.STOP_QEMU, killed, "kvm", UP)
    assert (made.after, made.anew, made.bundle) == (Phase.RUNNING, True, False)


def test_a_guest_that_has_just_booted_may_be_in_its_firmware() -> None:
    assert plan(Kind.HANG, SPEC, "kvm", 0.0).noticed[1] > plan(Kind.HANG, SPEC, "kvm", UP).noticed[1]


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        (Kind.KILL, {"drill": Drill()}, "allows no drills"),
        (Kind.HANG, {"drill": Drill(allowed=True)}, "drill.hang"),
        (Kind.TRIPLE_FAULT, {"drill": Drill(allowed=True)}, "drill.triple-fault"),
        (Kind.PANIC, {"drill": Drill(allowed=True)}, "no guest agent"),
        (Kind.PANIC, {"panic": Panic()}, "is not told of a panic"),
        (Kind.ENOSPC, {"disk": {}}, "no disk in a file"),
        (Kind.HELPER, {"tpm": Tpm()}, "no helper"),
        (
            Kind.STOP_QEMU,
            {"hang": Hang(qemu_timeout=Hang().qemu_timeout.__class__(0))},
            "nobody would notice",
        ),
    ],
)
def test_what_a_drill_lacks_is_told(kind: Kind, changes: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        plan(kind, changed(**changes), "kvm", UP)


def test_the_command_knows_every_drill() -> None:
    assert set(DRILLS) == {*Kind}


def test_an_agent_can_be_asked_to_panic() -> None:
    spec = changed(drill=Drill(allowed=True), agent=Agent(enabled=True))
    assert plan(Kind.PANIC, spec, "kvm", UP).cause is Cause.GUEST_PANIC


def test_each_thing_that_went_otherwise_is_told() -> None:
    made = plan(Kind.KILL, SPEC, "kvm", UP)
    well = Seen(
        noticed=0.004,
        cause="qemu-signal",
        answer=f"{made.answer}: restart at once",
        bundle="web1-20261125T000000Z-0000",
        phase=Phase.RUNNING,
        ready=True,
        anew=True,
        settled=1.0,
    )
    assert all(row.ok for row in compare(made, well))
    otherwise: dict[str, dict[str, Any]] = {
        "noticed": {"noticed": 30.0},
        "cause": {"cause": "unknown"},
        "answer": {"answer": None},
        "bundle": {"bundle": None},
        "then": {"anew": False},
        "there": {"settled": None},
    }
    for what, change in otherwise.items():
        rows = compare(made, msgspec.structs.replace(well, **change))
        assert [row.what for row in rows if not row.ok] == [what]
