"""The full path of the command: every verb with every option."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

from qsup import __version__
from qsup.cli import fast
from qsup.cli.arguments import Options, parse
from qsup.cli.output import complain, show, show_json
from qsup.cli.reply import report, show_text
from qsup.cli.verbs import VERBS
from qsup.control.client import Client
from qsup.errors import DaemonUnreachable, QsupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

QEMU_ANSWER: Final = 60.0
"""How long QEMU may take for a command that is passed to it, seconds; the daemon's own deadline is shorter."""


def run(words: list[str]) -> int:
    """Do what the words ask for; return the exit code."""
    try:
        options = parse(words)
        return _SPECIAL.get(options.verb, _rendered)(options)
    except SystemExit as leaving:
        # argparse has told what there is to tell, and leaves with 0 for --help, 2 for a mistake.
        return int(leaving.code or 0)
    except QsupError as error:
        return report(error)


def client(options: Options) -> Client:
    """A connection to the daemon that the options name."""
    path = options.socket or fast.socket_path()
    if path is None:
        raise UsageError("XDG_RUNTIME_DIR is not set; name the daemon's socket with --socket or QSUP_SOCKET")
    return Client(path)


def _rendered(options: Options) -> int:
    """Verbs whose answer the daemon renders, unless JSON is asked for."""
    verb = VERBS[options.verb]
    arguments: dict[str, Any] = {}
    if options.guests or options.all:
        arguments["names"] = ["*"] if options.all else options.guests
    if not options.json:
        arguments |= {"format": "text", "color": fast.wants_color()}
    if verb.acts:
        arguments |= {"wait": options.wait}
        if options.timeout is not None:
            arguments["timeout"] = options.timeout
    with client(options) as daemon:
        # How long a guest may take is for the daemon to say; questions it answers at once.
        answer = daemon.call(verb.command, arguments, **({"timeout": None} if verb.acts else {}))
    if not options.json:
        return show_text(answer)
    show_json(answer)
    return max((outcome["exit"] for outcome in answer), default=0) if verb.acts else 0


def _argv(options: Options) -> int:
    with client(options) as daemon:
        line = daemon.call("guest-argv", {"name": options.guests[0]})
    if options.json:
        show_json(line)
    else:
        words = [shlex.quote(line["binary"]), *(shlex.join(option) for option in line["options"])]
        show(" \\\n  ".join(words) + "\n")
    return 0


def _qmp(options: Options) -> int:
    try:
        arguments = json.loads(options.arguments)
    except ValueError as error:
        raise UsageError(f"the arguments of {options.command} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise UsageError(f'the arguments of {options.command} must be a JSON object, like {{"id": "disk0"}}')
    request = {"name": options.guests[0], "command": options.command, "arguments": arguments}
    with client(options) as daemon:
        show_json(daemon.call("guest-qmp", request, timeout=QEMU_ANSWER))
    return 0


def _reload(options: Options) -> int:
    with client(options) as daemon:
        found = daemon.call("reload-config", {}, timeout=60.0)
    if options.json:
        show_json(found)
    else:
        kinds = ("added", "changed", "removed")
        show(
            "".join(f"{kind}: {', '.join(found[kind])}\n" for kind in kinds if found[kind])
            or "nothing changed\n"
        )
        complain("\n".join(found["problems"]))
    return 1 if found["problems"] else 0


def _version(options: Options) -> int:
    try:
        with client(options) as daemon:
            theirs = daemon.call("query-version", {})
    except DaemonUnreachable:
        if not options.json:
            show(f"qsup {__version__}\n")
        raise
    if options.json:
        show_json({"command": __version__, "daemon": theirs})
    else:
        daemon_lines = "".join(f"  {key}: {value}\n" for key, value in theirs.items())
        show(f"qsup {__version__}\ndaemon:\n{daemon_lines}")
    return 0


def _log(options: Options) -> int:
    from qsup.cli.log import log

    with client(options) as daemon:
        return log(daemon, options)


def _console(options: Options) -> int:
    from qsup.cli.console import console

    with client(options) as daemon:
        return console(daemon, options)


def _events(options: Options) -> int:
    from qsup.cli.events import events

    with client(options) as daemon:
        return events(daemon, options)


def _history(options: Options) -> int:
    arguments: dict[str, Any] = {"name": options.guests[0]}
    if options.since is not None:
        arguments["age"] = options.since
    if options.figures or options.lines is not None:
        arguments["limit"] = 0 if options.figures else options.lines
    with client(options) as daemon:
        if options.json:
            show_json(daemon.call("query-history", arguments))
            return 0
        return show_text(daemon.call("query-history", {**arguments, "format": "text"}))


def _check(options: Options) -> int:
    from qsup.cli.check import check

    return check(options)


def _import(options: Options) -> int:
    from qsup.cli.importing import import_guests

    return import_guests(options)


def _new(options: Options) -> int:
    from qsup.cli.new import new

    return new(options)


def _set(options: Options) -> int:
    from qsup.cli.change import set_keys

    return set_keys(options)


def _edit(options: Options) -> int:
    from qsup.cli.edit import edit

    return edit(options)


def _explain(options: Options) -> int:
    from qsup.cli.explain import explain

    return explain(options)


def _schema(options: Options) -> int:
    from qsup.cli.explain import print_schema

    return print_schema(options)


_SPECIAL: Final[dict[str, Callable[[Options], int]]] = {
    "argv": _argv,
    "qmp": _qmp,
    "reload": _reload,
    "version": _version,
    "log": _log,
    "console": _console,
    "events": _events,
    "history": _history,
    "check": _check,
    "import": _import,
    "new": _new,
    "set": _set,
    "edit": _edit,
    "explain": _explain,
    "schema": _schema,
}
