"""What a QEMU lists for people: scripts in its place, of which some never come to an end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from qsup.errors import LaunchError
from qsup.probe.ask import find_out
from qsup.probe.conversation import Bounds
from qsup.probe.listing import listed
from tests.fakes import fake_qemu

LIST = "printf 'Available display backend types:\\nnone\\negl-headless\\n\\nSome of them take more: see -help.\\n'"


def asked(directory: Path, script: str, patience: float = 5.0) -> frozenset[str]:
    binary = directory / "qemu"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return listed(str(binary), "-display", Bounds(time.monotonic() + patience))


def test_words_on_lines_of_their_own_are_what_is_there(tmp_path: Path) -> None:
    assert asked(tmp_path, f'[ "$*" = "-display help" ] && {LIST}') == {"none", "egl-headless"}


@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo starting", f"{LIST}; exec sleep 600", f"{LIST}; yes", "echo none >&2"],
    ids=["nothing", "something else", "no end", "too much", "elsewhere"],
)
def test_what_is_no_list_stays_unknown(script: str, tmp_path: Path) -> None:
    assert asked(tmp_path, script, 0.5) == frozenset()


def test_a_binary_that_cannot_be_executed_lists_nothing() -> None:
    assert listed("/nonexistent", "-display", Bounds(time.monotonic() + 1)) == frozenset()


def test_nobody_is_asked_who_is_not_waited_for(tmp_path: Path) -> None:
    stop = os.eventfd(1, os.EFD_CLOEXEC)
    try:
        (tmp_path / "qemu").write_text("#!/bin/sh\nexec sleep 600\n")
        (tmp_path / "qemu").chmod(0o755)
        with pytest.raises(LaunchError, match="nobody waits for the answer any more"):
            listed(str(tmp_path / "qemu"), "-display", Bounds(time.monotonic() + 60, stop))
    finally:
        os.close(stop)


def test_the_facts_hold_what_was_listed(tmp_path: Path) -> None:
    facts = find_out(str(fake_qemu.install(tmp_path, "probe-answers")))
    assert facts.members["displays"] == {"none"}
    assert not facts.has_member("displays", "egl-headless")
    assert facts.has_member("audio-backends", "anything")
