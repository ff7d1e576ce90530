"""Answers of the daemon that are not plain text and success."""

from __future__ import annotations

import json
from typing import Any

from qsup.cli.output import complain, show
from qsup.control.client import error_of
from qsup.errors import DaemonUnreachable, QsupError


def finish(answer: bytes) -> int:
    """Show an answer line with text or an error; return the exit code."""
    try:
        reply = json.loads(answer)
        if "error" in reply:
            return report(error_of(reply["error"]))
        return show_text(reply["return"])
    except (ValueError, KeyError, TypeError):
        return report(QsupError("the daemon's answer makes no sense; are command and daemon of one version?"))


def show_text(text: dict[str, Any]) -> int:
    """Show what the daemon has rendered; return the exit code that came with it."""
    show(text["text"])
    complain(text["errors"])
    return int(text["exit"])


def report(error: QsupError) -> int:
    """Say what went wrong; return the exit code."""
    complain(str(error))
    return error.exit_code


def lost(path: str) -> int:
    """Report a daemon that went away after it had been asked to do something."""
    return report(
        DaemonUnreachable(
            f"the daemon at {path} went away before it answered; what was asked may still happen"
        )
    )
