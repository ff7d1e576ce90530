"""Each guest file here gives exactly the command line that stands beside it, for people to read and review.

``QSUP_UPDATE_GOLDEN=1`` writes the command lines anew; the change then shows in the diff of the commit.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

import msgspec
import pytest

from qsup.argv.build import build
from qsup.argv.render import render
from tests.golden.cases import CASES, CONTEXT, FACTS, GOLDEN, load_case, name

if TYPE_CHECKING:
    from pathlib import Path


def text_of(case: Path) -> str:
    """The command line, sockets, helpers, QMP commands and files of a guest file, as if it lay in ``/etc/qsup``."""
    invocation = build(load_case(case), FACTS, CONTEXT)
    sockets = "".join(f"# {inherited}\n" for inherited in invocation.inherited)
    commands = "".join(
        f"# QMP: {json.dumps(msgspec.to_builtins(command))}\n" for command in invocation.commands
    )
    files = "".join(
        f"# file: {json.dumps(msgspec.to_builtins(file, enc_hook=str))}\n" for file in invocation.files
    )
    helpers = "".join(
        f"# {helper.name}{f' at fd {helper.qemu_fd}' if helper.qemu_fd else ''}: {shlex.join(helper.argv)}\n"
        for helper in invocation.helpers
    )
    head = sockets + helpers + commands + files
    return (head + render(invocation)).replace(str(case.parents[1]), "/etc/qsup")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_command_line_is_the_one_written_down(case: Path) -> None:
    golden = GOLDEN / f"{case.stem}.argv"
    if os.environ.get("QSUP_UPDATE_GOLDEN"):
        golden.write_text(text_of(case))
    assert text_of(case) == golden.read_text()


def test_no_command_line_is_left_over_from_a_guest_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.glob("*.argv")} == {case.stem for case in CASES}


def test_no_two_guests_share_a_command_line_s_name() -> None:
    assert len({case.stem for case in CASES}) == len(CASES)
