from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsup.argv.build import build
from qsup.argv.extra import REFUSED, check_args
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import LaunchContext
from qsup.errors import SpecError
from qsup.spec.model import GuestSpec
from qsup.spec.tables.qemu import Qemu

FACTS = HostFacts("qemu-system-x86_64", kvm=True)
CONTEXT = LaunchContext("0123456789abcdef", "/run/x", "/s")


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_what_would_break_supervision_is_refused_in_both_spellings_with_a_reason(option: str) -> None:
    for word in (f"-{option}", f"--{option}"):
        [problem] = check_args(["-device", "isa-debug-exit", word])
        assert problem == f"qemu.args: {word} cannot be used: {REFUSED[option]}"


@pytest.mark.parametrize("args", [["-serial", "mon:unix:/tmp/x"], ["-serial", "stdio"], ["-chardev", "-qmp"]])
def test_a_monitor_or_terminal_behind_another_option_is_refused(args: list[str]) -> None:
    assert len(check_args(args)) == 1


def test_every_problem_is_told_at_once() -> None:
    assert len(check_args(["-daemonize", "-S", "--pidfile", "x"])) == 3


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-device", "isa-debug-exit"],
        ["-nodefaults"],
        ["-global", "a.b=c"],
        ["-s"],
        ["-smp", "4"],
        ["S", "name", "-"],
    ],
)
def test_what_only_adds_to_the_guest_is_let_through(args: list[str]) -> None:
    assert check_args(args) == []


def test_a_guest_with_a_refused_argument_is_not_built() -> None:
    spec = GuestSpec(name="web1", qemu=Qemu(args=("-daemonize",)))
    with pytest.raises(SpecError, match=r"^web1: qemu.args: -daemonize cannot be used: the process"):
        build(spec, FACTS, CONTEXT)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["-device", "--global", "x", "-", "a=b,c", "-snapshot", ""]), max_size=6))
def test_the_arguments_come_last_as_they_are(args: list[str]) -> None:
    plain = build(GuestSpec(name="web1"), FACTS, CONTEXT).argv
    assert build(GuestSpec(name="web1", qemu=Qemu(args=tuple(args))), FACTS, CONTEXT).argv == [*plain, *args]


def test_qemu_has_no_spelling_of_an_option_that_the_check_does_not_know(qemu_binary: str) -> None:
    for spelling in ("---S", "-S=on", "-qmp=stdio", "-daemonise", "-daemoniz"):
        tried = subprocess.run(
            [qemu_binary, "-machine", "none", "-display", "none", spelling], capture_output=True
        )
        assert (tried.returncode, b"invalid option" in tried.stderr) == (1, True), spelling
