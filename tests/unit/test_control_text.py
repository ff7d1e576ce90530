"""What people read: tables, blocks, explanations, and how safe they are for a terminal."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.cause import Cause
from qsup.control import render
from qsup.control.tail import last_lines
from qsup.control.text import duration, printable, printable_lines, size
from qsup.control.why import explain
from qsup.guest.view import EndView, GuestView
from qsup.phase import Phase, Wanted
from tests.fakes.fake_supervisor import SINCE, panicked, stopped, view

NASTY = "\x1b[2J\x07\x9b31m\u202e\n\r"


def hostile() -> GuestView:
    """A guest in every field of which something nasty stands that its QEMU or its file could have put there."""
    end = EndView(
        cause=Cause.UNKNOWN,
        detail=NASTY,
        status=NASTY,
        at=SINCE,
        ran=1.0,
        decision=NASTY,
        evidence=(NASTY,),
        bundle=None,
    )
    return view(
        "web1",
        reason=NASTY,
        run_state=NASTY,
        last_end=end,
        changes=(NASTY,),
        problems=(NASTY,),
        description=NASTY,
        display=NASTY,
        trouble=NASTY,
        stopped_by=NASTY,
        run_dir=NASTY,
        file=NASTY,
    )


def is_safe(text: str) -> bool:
    return all(character == "\n" or character.isprintable() for character in text)


def test_nothing_that_a_guest_could_have_written_reaches_the_terminal_as_it_is() -> None:
    bad = hostile()
    assert is_safe(render.listing([bad], SINCE, color=False).text)
    assert len(render.listing([bad], SINCE, color=False).text.splitlines()) == 2
    assert is_safe(render.status([bad], SINCE, color=False).text)
    assert all(is_safe(sentence) and "\n" not in sentence for sentence in explain(bad, SINCE))


@given(st.text())
def test_printable_text_commands_no_terminal(text: str) -> None:
    assert not set(printable(text)) & {chr(code) for code in (*range(32), *range(127, 160))}
    assert not set(printable_lines(text)) & {chr(code) for code in range(32) if chr(code) not in "\n\t"}


def test_list_aligns_its_columns_with_colour_as_without() -> None:
    views = [view("a", phase=Phase.STOPPING), stopped("a-long-name"), panicked("gone")]
    plain = render.listing(views, SINCE + 5, color=False).text
    colored = render.listing(views, SINCE + 5, color=True).text
    assert plain.splitlines()[1].split()[:6] == ["a", "stopping", "yes", "4711", "5.0", "s"]
    assert "\x1b[33mstopping\x1b[m  " in colored
    assert "\x1b[31mgave-up\x1b[m" in colored
    for code in ("31", "33"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert colored.replace("\x1b[m", "") == plain
    assert render.listing([], SINCE, color=False).text == "no guests\n"


def test_a_phase_that_is_part_of_a_name_is_not_what_gets_coloured() -> None:
    text = render.listing([view("running")], SINCE, color=True).text
    assert text.splitlines()[1].startswith("running  \x1b[32mrunning\x1b[m")


def test_status_tells_what_there_is_and_leaves_out_what_is_not() -> None:
    text = render.status(
        [view("web1", adopted=True, changes=("memory.size: 1 GiB → 2 GiB",))], SINCE, color=False
    ).text
    assert "adopted from an earlier daemon" in text
    assert "memory.size: 1 GiB → 2 GiB (restart needed)" in text
    assert "Last end" not in text
    assert "Next try" not in text
    orphan = render.status([view("web1", orphaned=True, file=None)], SINCE, color=False).text
    assert "gone; it runs until it is stopped" in orphan


@pytest.mark.parametrize(
    ("guest", "sentences"),
    [
        (view("web1"), ["web1 is running and ready since", "Started by uid 0 (pid 1)."]),
        (view("web1", ready=False), ["web1 is running, not ready yet since"]),
        (view("web1", phase=Phase.PAUSED, ready=False, run_state="io-error"), ["web1 is paused (io-error) since"]),
        (
            stopped("web1", phase=Phase.BACKOFF, wanted=Wanted.RUNNING, next_try=SINCE + 4, failures=2),
            ["phase backoff", "within the window: 2 of 5 that are allowed.", "The next start is due", "in 3.0 s."],
        ),
        (panicked("web1"), ["(phase gave-up)", "had run for 42 s: guest-panic, status exit 0.", "no next try"]),
        (stopped("web1", stopped_by="acpi"), ["The stop ladder's rung that ended it: acpi."]),
        (view("web1", phase=Phase.STARTING, waiting_for=("db1",)), ["It waits until these guests are ready: db1."]),
        (view("web1", wanted=Wanted.STOPPED), ["It is wanted stopped."]),
        (view("web1", orphaned=True), ["Its file has gone: it runs on until it is stopped"]),
        (view("web1", problems=("x.toml:1: no",)), ["Its file cannot be used: x.toml:1: no."]),
        (view("web1", changes=("cpu.count: 1 → 2",)), ["a restart is needed for: cpu.count: 1 → 2."]),
        (view("web1", trouble="QEMU refused it"), ["The last command to it had trouble: QEMU refused it."]),
    ],
)  # fmt: skip
def test_why_tells_what_decided(guest: GuestView, sentences: list[str]) -> None:
    told = " ".join(explain(guest, SINCE + 1))
    for sentence in sentences:
        assert sentence in told


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("wanted", list(Wanted))
def test_why_and_status_have_an_answer_in_every_phase(phase: Phase, wanted: Wanted) -> None:
    guest = msgspec.structs.replace(panicked("web1"), phase=phase, wanted=wanted)
    assert str(phase) in explain(guest, SINCE)[0]
    assert str(phase) in render.status([guest], SINCE, color=False).text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (42, "42 s"), (60, "1 min"), (185, "3 min 5 s"), (187200, "2 d 4 h")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (2 << 30, "2 GiB"), (3 << 40, "3072 GiB")]
)
def test_sizes_take_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r"])), st.integers(0, 5))
def test_the_last_lines_are_those_that_split_at_newlines_gives(pieces: list[bytes], count: int) -> None:
    log = b"".join(pieces)
    lines = [line + b"\n" for line in log.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    expected = [line for line in lines if line][-count:] if count else []
    assert last_lines(log, count) == b"".join(expected)
