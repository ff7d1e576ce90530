"""A crash as files: all of it, raw for programs, harmless for people, and without its secrets."""

from __future__ import annotations

import json
import shlex
from typing import Any

import msgspec
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from qsup.blackbox.bundle import ID, Crash, Facts, cleaned, facts_of, files, new_id, time_of
from qsup.blackbox.core import Core
from qsup.blackbox.rings import Message, Remembered, Sample
from qsup.blackbox.summary import summary, visible
from qsup.events import Event, Kind
from tests.fakes.crashes import AT, SECRET, crash

ID_OF_IT = "web1-20261125T014512Z-1a2b"


def lines(made: dict[str, bytes], name: str) -> list[Any]:
    return [json.loads(line) for line in made[name].splitlines()]


def summed_up(one: Crash) -> str:
    one = cleaned(one)
    return summary(one, ID_OF_IT, files(one))


def test_everything_that_is_known_is_in_a_file_of_its_own() -> None:
    made = files(cleaned(crash()))
    assert set(made) == {
        "spec.toml", "argv.txt", "stderr.txt", "console-console.txt", "qmp.jsonl", "events.jsonl",
        "samples.jsonl", "figures.json", "screen.png",
    }  # fmt: skip
    assert tomli.loads(made["spec.toml"].decode())["disk"]["root"]["file"] == "/srv/web1.qcow2"
    assert shlex.split(made["argv.txt"].decode())[-2:] == ["-append", "a b"]
    assert made["argv.txt"].count(b"\n") == 4, "an option a line"
    assert made["stderr.txt"] == b"qemu-system-x86_64: warning\n"
    assert b"\x1b[31mred\r\n" in made["console-console.txt"], "raw, as it was printed"
    assert made["screen.png"].startswith(b"\x89PNG")
    assert lines(made, "events.jsonl")[0]["event"] == "GUEST_NOTICE"
    assert lines(made, "samples.jsonl") == [{"at": AT, "values": {"cpu": 0.5}}]
    assert json.loads(made["figures.json"])["host"]["/proc/meminfo"] == {"MemAvailable": "1 kB"}


def test_qmp_messages_are_objects_where_they_are_whole_and_texts_where_they_were_cut() -> None:
    out, answer, long = lines(files(cleaned(crash())), "qmp.jsonl")
    assert (out["way"], out["message"]["execute"], out["times"]) == ("out", "stop", 1)
    assert (answer["way"], answer["message"]["return"]) == ("in", {})
    assert long["begins"].startswith('{"return": "xxx')
    assert long["length"] > 5000


def test_no_file_holds_a_secret() -> None:
    one = crash(
        detail=f"it said {SECRET}",
        panic=f"panic: {SECRET}",
        evidence=(SECRET,),
        stderr=SECRET.encode(),
        figures={"x": SECRET},
    )
    made = {**files(cleaned(one)), "summary": summed_up(one).encode(), "facts": facts(one)}
    for name, data in made.items():
        assert SECRET.encode() not in data, name
        assert b"hush" not in data, name
    assert b"(removed)" in made["spec.toml"]


def facts(one: Crash) -> bytes:
    return msgspec.json.encode(facts_of(cleaned(one), ID_OF_IT))


def test_the_facts_for_programs_can_be_read_back() -> None:
    read = msgspec.json.decode(facts(crash()), type=Facts)
    assert (read.version, read.id, read.guest, read.at) == (1, ID_OF_IT, "web1", AT)
    assert (read.cause, read.status, read.pid) == ("qemu-signal", "signal 11 (SIGSEGV)", 4711)
    assert read.core == Core("it is in /core.4711 (5 bytes)", "/core.4711")


def test_of_an_end_of_which_little_is_known_there_is_a_bundle_as_well() -> None:
    full = crash()
    little = Crash(guest="a", at=AT, cause=full.cause, detail="it hangs", spec=full.spec)
    made = files(cleaned(little))
    assert "screen.png" not in made
    assert made["argv.txt"] == b"\n"
    assert made["figures.json"] == b"{}\n"
    text = summed_up(little)
    assert "    it hangs" in text
    assert "Core dump" not in text


def test_what_is_long_is_kept_from_its_end() -> None:
    one = cleaned(crash(stderr=b"a" * 999_999 + b"end", consoles={"c": b"a" * 999_999 + b"end"}))
    assert len(one.stderr) == 256 << 10
    assert len(one.consoles["c"]) == 64 << 10
    assert one.stderr.endswith(b"end")


def test_the_summary_tells_what_a_person_asks_first() -> None:
    text = summed_up(crash())
    assert text.startswith("# web1: qemu-signal\n\n2026-11-2")
    for told in (
        "\n    signal 11 (SIGSEGV) ended QEMU\n",
        'restart.policy = "on-failure": restart in 1 s',
        "the kernel's log names it",
        "Kernel panic - not syncing",
        "    pid:           4711",
        "    vCPUs had run: 59.5 s",
        "it is in /core.4711",
        r"    login: \x1b[31mred",
        "memory available: 1 kB",
        "room for /srv/web1.qcow2: 1.0 GiB of 4.0 GiB",
        "- `screen.png`: its screen",
        "- `console-console.txt`: what was printed on that serial port",
        '→ {"execute":"stop"',
    ):
        assert told in text, told


def test_of_a_long_output_the_summary_shows_the_end_and_says_so() -> None:
    text = summed_up(crash(stderr=b"".join(b"line %d\n" % number for number in range(500))))
    assert "(480 lines before)" in text
    assert "    line 499" in text
    assert "line 479\n" not in text


def plain_lines(text: str) -> set[str]:
    """What of a summary is not in an indented block."""
    return {line for line in text.splitlines() if not line.startswith("    ")}


MARKUP = ["# title\n", "```\n", "<script>alert(1)</script>", "\n\n[x](y)", "\x1b]0;x\x07", "- [ ] x\n---\n"]
SIGNS = "\n\r\t\x0b\x0c\x1b\x85\u2028\u202e\u200b`#<>*_[]()|&~\\-=+!:\"'"
HOSTILE = st.text(st.characters() | st.sampled_from(SIGNS), max_size=80) | st.sampled_from(MARKUP)


@given(HOSTILE, HOSTILE, st.binary(max_size=200))
def test_nothing_that_a_guest_writes_becomes_the_summarys_own_or_a_terminals(
    text: str, other: str, data: bytes
) -> None:
    def made(text: str, other: str, data: bytes) -> str:
        message = Message("in", 1.0, data, len(data), last=2.0, times=3)
        event = Event(1, 1.0, Kind.NOTICE, {"message": other})
        remembered = Remembered((message,), (event,), (Sample(1.0, other),))
        return summed_up(
            crash(
                detail=text, decision=other, evidence=(text, other), panic=text, remembered=remembered,
                stderr=data + text.encode(errors="replace"), consoles={"c": data + other.encode(errors="replace")},
                core=Core(text), figures={"host": {"/proc/loadavg": other}}, qemu="7.2.22",
            )
        )  # fmt: skip

    hostile, harmless = made(text, other, data), made("x", "x", b"x")
    assert plain_lines(hostile) <= plain_lines(harmless)
    assert all(char.isprintable() or char == "\n" for char in hostile)


@given(st.text(max_size=500))
def test_a_visible_line_is_one_line_and_printable(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert len(shown) < 4000


@given(HOSTILE, st.binary(max_size=3000))
def test_whatever_a_guest_writes_the_files_for_programs_can_be_read(text: str, data: bytes) -> None:
    message = Message("in", 1.0, data, len(data), last=2.0)
    event = Event(1, 1.0, Kind.NOTICE, {"message": text})
    remembered = Remembered((message,), (event,), (Sample(1.0, {text: text}),))
    one = crash(
        remembered=remembered, stderr=data, core=Core(text, text), argv=(text,), panic=text, detail=text
    )
    made = files(cleaned(one))
    assert msgspec.json.decode(facts(one), type=Facts).guest == "web1"
    assert made["stderr.txt"] == data
    (heard,) = lines(made, "qmp.jsonl")
    assert "message" in heard or "begins" in heard
    assert len(lines(made, "events.jsonl")) == 1


@pytest.mark.parametrize("guest", ["web1", "web@1", "a-20261125T014512Z-1a2b", "a.b_c-d"])
def test_an_id_names_its_guest_and_its_time(guest: str) -> None:
    found = ID.fullmatch(new_id(guest, AT))
    assert found is not None
    assert found["guest"] == guest
    assert time_of(found["stamp"]) == int(AT)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id("web1", AT) for _ in range(20)}) > 15
