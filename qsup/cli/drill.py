"""``qsup drill``: asks first, has the daemon hold the drill, and shows what was expected against what was seen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from qsup.cli.arguments import DRILLS
from qsup.cli.output import complain, show_json
from qsup.cli.reply import show_text

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.control.client import Client


def drill(daemon: Client, options: Options) -> int:
    """Hold a drill; the exit code is 0 if all went as expected."""
    name = options.guests[0]
    if not options.yes and not _agreed(f"{DRILLS[options.kind]}: {name} may lose what it is doing. Go on?"):
        complain("nothing was done")
        return 1
    wish: dict[str, Any] = {"name": name, "kind": options.kind}
    if options.json:
        held = daemon.call("guest-drill", wish, timeout=None)
        show_json(held)
        return int(not held["ok"])
    return show_text(daemon.call("guest-drill", wish | {"format": "text"}, timeout=None))


def _agreed(question: str) -> bool:
    """Whether somebody at a terminal says yes; nobody there is no yes."""
    if not sys.stdin.isatty():
        complain("a drill asks first; say --yes where nobody can be asked")
        return False
    print(f"{question} [y/N] ", end="", flush=True)  # noqa: T201 - a question
    return sys.stdin.readline().strip().lower() in ("y", "yes")
