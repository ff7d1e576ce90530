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
from qsup.control.client import HANDSHAKE, Client
from qsup.errors import DaemonUnreachable, QsupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMPLETE: Final = "__complete"
"""What the scripts of ``qsup completion`` say instead of a verb, and then the command line to complete."""
QEMU_ANSWER: Final = 60.0
"""How long QEMU may take for a command that is passed to it, seconds; the daemon's own deadline is shorter."""


def run(words: list[str]) -> int:
    """Do what the words ask for; return the exit code."""
    if words[:1] == [COMPLETE]:
        from qsup.cli.completion import complete

        return complete(words[2:])
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
    if options.plan:
        return _stop_plan(options)
    arguments: dict[str, Any] = {}
    if options.guests or options.all:
        arguments["names"] = ["*"] if options.all else options.guests
    if not options.json:
        arguments |= {"format": "text", "color": fast.wants_color()}
    if verb.acts:
        arguments |= {"wait": options.wait is not False}
        if options.wait and options.verb in ("start", "restart"):
            arguments["ready"] = True
        if options.timeout is not None:
            arguments["timeout"] = options.timeout
        if options.due:
            arguments["due"] = True
        if options.budget is not None:
            arguments["budget"] = options.budget
    with client(options) as daemon:
        answer = daemon.call(
            verb.command, arguments, **({"timeout": _patience(options)} if verb.acts else {})
        )
    if not options.json:
        return show_text(answer)
    show_json(answer)
    if verb.acts:
        return max((outcome["exit"] for outcome in answer), default=0)
    return int(options.verb == "status" and any(guest["phase"] == "gave-up" for guest in answer))


def _patience(options: Options) -> float | None:
    """How long a guest may take is for the daemon to say, unless there is a time by which the host goes down."""
    return None if options.budget is None else options.budget + HANDSHAKE


def _stop_plan(options: Options) -> int:
    arguments: dict[str, Any] = {"budget": options.budget}
    if options.guests:
        arguments["names"] = options.guests
    with client(options) as daemon:
        if options.json:
            answer = daemon.call("query-stop-plan", arguments)
            show_json(answer)
            return int(not answer["enough"])
        return show_text(daemon.call("query-stop-plan", {**arguments, "format": "text"}))


def _drill(options: Options) -> int:
    from qsup.cli.drill import drill

    with client(options) as daemon:
        return drill(daemon, options)


def _maintenance(options: Options) -> int:
    wish: dict[str, Any] = {"names": ["*"] if options.all else options.guests}
    wish["seconds"] = options.seconds if options.state == "on" else 0.0
    if not options.json:
        wish |= {"format": "text"}
    with client(options) as daemon:
        answer = daemon.call("guest-maintenance", wish)
    if not options.json:
        return show_text(answer)
    show_json(answer)
    return 0


def _argv(options: Options) -> int:
    with client(options) as daemon:
        line = daemon.call("guest-argv", {"name": options.guests[0]})
    if options.json:
        show_json(line)
    else:
        seen = [f"{name}={shlex.quote(text)}" for name, text in line["environment"].items()]
        first = " ".join([*seen, shlex.quote(line["binary"])])
        options_ = [shlex.join(option) for option in line["options"]]
        if options.why:
            show("".join(_explained(first, options_, line["origins"])))
        else:
            show(" \\\n  ".join([first, *options_]) + "\n")
    return 0


def _explained(first: str, options: list[str], origins: list[dict[str, Any]]) -> Iterator[str]:
    """The options, below where they come from."""
    yield f"{first}\n"
    before: dict[str, Any] | None = None
    for option, origin in zip(options, origins, strict=True):
        if origin != before:
            yield f"  # {_origin(origin)}\n"
        before = origin
        yield f"    {option}\n"


def _origin(origin: dict[str, Any]) -> str:
    if origin["table"] is None:
        return "qsup itself"
    said = ", ".join(origin["places"]) or "no file says anything: as it is without"
    return f"[{origin['table']}] {said}"


def _pass_on(options: Options) -> int:
    try:
        arguments = json.loads(options.arguments)
    except ValueError as error:
        raise UsageError(f"the arguments of {options.command} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise UsageError(f'the arguments of {options.command} must be a JSON object, like {{"id": "disk0"}}')
    request = {"name": options.guests[0], "command": options.command, "arguments": arguments}
    with client(options) as daemon:
        show_json(daemon.call(VERBS[options.verb].command, request, timeout=QEMU_ANSWER))
    return 0


def _whoami(options: Options) -> int:
    with client(options) as daemon:
        if not options.json:
            return show_text(daemon.call("query-access", {"format": "text"}))
        show_json(daemon.call("query-access", {}))
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


def _crash(options: Options) -> int:
    from qsup.cli.crash import crash

    with client(options) as daemon:
        return crash(daemon, options)


def _alert(options: Options) -> int:
    from qsup.cli.alert import test

    with client(options) as daemon:
        return test(daemon, options)


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


def _completion(options: Options) -> int:
    from qsup.cli.completion import print_script

    return print_script(options)


def _schema(options: Options) -> int:
    from qsup.cli.explain import print_schema

    return print_schema(options)


_SPECIAL: Final[dict[str, Callable[[Options], int]]] = {
    "maintenance": _maintenance,
    "drill": _drill,
    "argv": _argv,
    "qmp": _pass_on,
    "agent": _pass_on,
    "whoami": _whoami,
    "reload": _reload,
    "version": _version,
    "log": _log,
    "console": _console,
    "events": _events,
    "crash": _crash,
    "alert": _alert,
    "history": _history,
    "check": _check,
    "import": _import,
    "new": _new,
    "set": _set,
    "edit": _edit,
    "explain": _explain,
    "schema": _schema,
    "completion": _completion,
}
