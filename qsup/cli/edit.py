"""``qsup edit``: a guest's file in an editor, checked before it is saved, in the manner of visudo."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.cli.change import Change, alone, target, tell, write
from qsup.cli.output import complain, show
from qsup.cli.place import directory
from qsup.control.text import printable_lines
from qsup.errors import QsupError, UsageError

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.cli.change import Target
    from qsup.spec.problem import Problem

EDITORS: Final = ("sensible-editor", "editor", "nano", "vi")
"""Tried in this order where neither VISUAL nor EDITOR names one."""
QUESTION: Final = "(e)dit again, (d)iscard, or (s)ave anyway? "


def edit(options: Options) -> int:
    """Edit a copy until it is right, show what it changes, and put it in the place of the file."""
    if options.json:
        raise UsageError("an editor has no JSON; `qsup set` has")
    config = directory(options)
    file = target(config, options.guests[0])
    folder = tempfile.mkdtemp(prefix="qsup-edit-")
    copy = Path(folder) / Path(file.file).name
    copy.write_bytes(file.before or b"")
    keep = True
    try:
        change = _until_right(file, copy)
        if change is None:
            keep = False
            return 0
        with alone(config):
            write(file, copy.read_bytes())
        keep = False
        tell(options, file, change)
        return 0
    finally:
        if keep:
            complain(f"what was edited is kept in {copy}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _until_right(file: Target, copy: Path) -> Change | None:
    """Let the copy be edited until it can be saved; None if nothing is to be saved. Raises QsupError."""
    while True:
        _run_editor(copy)
        data = copy.read_bytes()
        if data == (file.before or b""):
            show("nothing was changed\n")
            return None
        change = Change.of(file, data)
        problems = _problems(file, change)
        if not problems:
            return change
        for problem in problems:
            complain(printable_lines(str(problem)))
        show(printable_lines(change.plan()))
        match _answer():
            case "d":
                show(f"{file.path} is as it was\n")
                return None
            case "s":
                return change


def _problems(file: Target, change: Change) -> list[Problem]:
    """All that is wrong in the edited file, and what the edit makes wrong elsewhere."""
    here = [problem for problem in change.then.problems if problem.file == file.file]
    return here + [problem for problem in change.new_problems if problem.file != file.file]


def _answer() -> str:
    """What to do about problems. Raises QsupError if nobody answers."""
    while True:
        show(QUESTION)
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            raise QsupError("nobody said what to do about the problems; the file is as it was")
        if line.strip()[:1].lower() in ("e", "d", "s"):
            return line.strip()[0].lower()


def _run_editor(copy: Path) -> None:
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(shutil.which, EDITORS), "")
    if not chosen:
        raise UsageError("there is no editor; name one with VISUAL or EDITOR")
    try:
        done = subprocess.run([*shlex.split(chosen), str(copy)], check=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"the editor {chosen!r} cannot be started: {error}") from error
    if done.returncode:
        raise QsupError(f"the editor ended with status {done.returncode}; the file is as it was")
