"""The command line as argparse reads it, built from the table of verbs."""

from __future__ import annotations

import argparse
from typing import Final

from qsup import __version__
from qsup.cli.verbs import NONE, ONE, SOME, VERBS, Verb
from qsup.units import Duration

EPILOG: Final = """\
GUEST may be a shell glob: qsup stop 'web*'.

exit codes: 0 done; 1 it failed; 2 usage; 3 no such guest; 4 the daemon cannot be reached; 5 not allowed;
6 timed out (it may still happen)
"""


DRILLS: Final = {
    "kill": "kill its QEMU",
    "stop-qemu": "stop its QEMU with SIGSTOP",
    "panic": "have its kernel panic",
    "hang": "have the guest hang",
    "triple-fault": "have a vCPU meet a triple fault",
    "enospc": "let a disk of it have no room",
    "helper": "kill a helper process of it",
}
"""The drills that there are."""


class Options(argparse.Namespace):
    """What the command line said. Options that a verb does not have keep these defaults."""

    verb: str
    guests: list[str]
    socket: str | None = None
    json: bool = False
    all: bool = False
    wait: bool | None = None
    state: str
    yes: bool = False
    seconds: float
    timeout: float | None = None
    follow: bool = False
    lines: int | None = None
    stderr: bool = False
    serial: str | None = None
    read_only: bool = False
    since: float | None = None
    figures: bool = False
    config: str | None = None
    host: bool = True
    files: list[str]
    key: str | None = None
    profiles: list[str]
    assignments: list[str]
    command: str
    arguments: str
    kind: str
    words: list[str]
    id: str
    dir: str | None = None
    name: str | None = None
    write: bool = False
    output: str | None = None
    strict: bool = False
    why: bool = False
    guest: str | None = None
    budget: float | None = None
    plan: bool = False
    due: bool = False


def parse(words: list[str]) -> Options:
    """Read the command line; for --help, --version and mistakes exit as argparse does, with 0 or 2."""
    parser = command_line()
    options = parser.parse_args(words, namespace=Options())
    verb = VERBS[options.verb]
    if verb.guests == SOME and bool(options.guests) == options.all:
        parser.error(f"{options.verb} needs either guests or --all")
    if options.plan and options.budget is None:
        parser.error("--plan shows how the time of --budget would be shared")
    return options


def command_line() -> argparse.ArgumentParser:
    """All verbs and options, as argparse knows them; the manual and the completion of shells are made of it.

    What an option or a positional takes is called by one of the kinds of :mod:`qsup.cli.offers`.
    """
    common = _common()
    parser = argparse.ArgumentParser(
        prog="qsup",
        description="Command the QEMU guests that qsupd keeps running.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"qsup {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        _add_options(
            verbs.add_parser(name, help=verb.help, description=f"{verb.help}.", parents=[common]), name, verb
        )
    return parser


def _common() -> argparse.ArgumentParser:
    """Options that may stand before the verb as well as after it: so the default must not overwrite what was read."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--socket", metavar="PATH", help="the daemon's control socket (default: $QSUP_SOCKET)"
    )
    common.add_argument("--json", action="store_true", help="print JSON, of a stable shape")
    return common


def _add_options(parser: argparse.ArgumentParser, name: str, verb: Verb) -> None:
    if verb.guests == NONE:
        parser.set_defaults(guests=[])
    else:
        kind = "NEW-GUEST" if name == "new" else "GUEST"
        parser.add_argument("guests", nargs=1 if verb.guests == ONE else "*", metavar=kind)
    if verb.acts:
        _add_acting(parser)
    if name in _SPECIAL:
        _SPECIAL[name](parser)


def _add_acting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="all guests")
    wait = argparse.BooleanOptionalAction
    parser.add_argument(
        "--wait",
        action=wait,
        default=None,
        help="wait until it is done (the default); if asked for with start or restart: until the guest is ready",
    )
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="how long to wait: 30s, 5min, or seconds"
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--due",
        action="store_true",
        help="only those that should run: stopped with --budget, or not yet started since the host came up",
    )


def _add_stop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help="have all of them gone after this time, which they share, and start again with the host",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only show how the time would be shared, and fail (1) if some may be cut short",
    )


def _add_maintenance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state", choices=("on", "off"), help="whether somebody works on the guests")
    parser.add_argument("--all", action="store_true", help="all guests")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=3600.0,
        metavar="TIME",
        help="for how long: 30min, 2h, or seconds (default: 1h)",
    )


def _add_drill(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_mutually_exclusive_group(required=True)
    for kind, what in DRILLS.items():
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=what)
    parser.add_argument("--yes", action="store_true", help="do not ask first")


def _add_argv(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--why", action="store_true", help="with the file and line that each option comes from"
    )


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--serial", metavar="SERIAL", help="the serial port; without it the first")
    parser.add_argument("--lines", type=count, metavar="N", help="how many lines (default: 100)")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what the guest prints from now on"
    )
    parser.add_argument("--stderr", action="store_true", help="what QEMU itself printed on its stderr")


def _add_console(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--serial", metavar="SERIAL", help="the serial port; without it the first")
    parser.add_argument("--read-only", action="store_true", help="only look")


def _add_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="show what happens from now on")
    parser.add_argument(
        "--since", type=duration, metavar="TIME", help="how far to look back: 30s, 5min, or seconds"
    )


def _add_alert(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(dest="kind", metavar="test", required=True)
    test = deeds.add_parser("test", help="send a message through an alert, now, and tell how each way went")
    test.add_argument("name", metavar="ALERT", help="the alert's name in qsup.toml")
    test.add_argument("--guest", metavar="GUEST", help="whom the message seems to be about")
    test.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        type=age,
        metavar="TIME",
        help="how far to look back: 12h, 7d (default: as far as is known)",
    )
    parser.add_argument("--lines", type=count, metavar="N", help="how many events (default: 20)")
    parser.add_argument("--figures", action="store_true", help="only how it did, without the events")


def _add_qmp(parser: argparse.ArgumentParser) -> None:
    _add_passed(parser, "a QMP command: query-status, device_del, …")


def _add_agent(parser: argparse.ArgumentParser) -> None:
    _add_passed(parser, "a command of the agent: guest-info, guest-get-osinfo, …")


def _add_passed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("command", metavar="COMMAND", help=what)
    parser.add_argument(
        "arguments", nargs="?", default="{}", metavar="JSON", help="its arguments, a JSON object"
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="check only the guests that these files are about; else all"
    )
    parser.add_argument(
        "--config", metavar="DIR", help="the configuration directory (default: where FILE is)"
    )
    parser.add_argument(
        "--no-host", dest="host", action="store_false", help="look at the files alone, not at this host"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail (1) as well for what is not possible on this host"
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    libvirt = kinds.add_parser("libvirt", help="domains of libvirt, in XML")
    libvirt.add_argument("words", nargs="*", metavar="FILE", help="the XML of a domain")
    libvirt.add_argument("--all", action="store_true", help="all domains that libvirt keeps on this host")
    libvirt.add_argument("--dir", metavar="DIR", help="for --all: the directory of the domains")
    qemu = kinds.add_parser("qemu", help="a command line of QEMU")
    qemu.add_argument("words", nargs="*", metavar="WORD", help="after --: the command line")
    for kind in (libvirt, qemu):
        kind.add_argument("--name", metavar="NAME", help="call the guest so")
        kind.add_argument("--write", action="store_true", help="add the files to the configuration's guests")
        kind.add_argument("-o", "--output", metavar="DIR", help="write the files there")
        kind.add_argument("--config", metavar="DIR", help="for --write: the configuration directory")
        kind.add_argument("--strict", action="store_true", help="fail if anything is lost")
        kind.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_crash(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    common = _common()
    show = kinds.add_parser("show", help="print its summary; with --json its facts", parents=[common])
    export = kinds.add_parser("export", help="write all of it into one archive", parents=[common])
    for kind in (show, export):
        kind.add_argument(
            "id",
            metavar="BUNDLE",
            help="its id or the beginning of it; or a guest, or latest: the newest one",
        )
    export.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the archive, - for standard output (default: its id, then .tar.gz)",
    )


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "key", nargs="?", metavar="KEY", help="a key or a table: disk, disk.cache; without it all tables"
    )


def _add_new(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--from",
        dest="profiles",
        metavar="PROFILE",
        action="append",
        default=[],
        help="a profile that it takes",
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a key: memory.size='2 GiB'",
    )


def _add_set(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "assignments",
        nargs="+",
        metavar="KEY=VALUE",
        help="a key: memory.size='2 GiB'; KEY= takes it out of the file",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="DIR", help="the configuration directory")


def _add_schema(parser: argparse.ArgumentParser) -> None:
    kinds = ("guest", "profile", "daemon")
    parser.add_argument(
        "kind", nargs="?", default="guest", choices=kinds, help="of which files (default: guest)"
    )


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("bash", "zsh", "fish"), help="the shell")


_SPECIAL: Final = {
    "start": _add_start,
    "stop": _add_stop,
    "new": _add_new,
    "set": _add_set,
    "edit": _add_config,
    "explain": _add_explain,
    "schema": _add_schema,
    "completion": _add_completion,
    "maintenance": _add_maintenance,
    "drill": _add_drill,
    "argv": _add_argv,
    "log": _add_log,
    "console": _add_console,
    "events": _add_events,
    "alert": _add_alert,
    "history": _add_history,
    "qmp": _add_qmp,
    "agent": _add_agent,
    "check": _add_check,
    "import": _add_import,
    "crash": _add_crash,
}


def duration(text: str) -> float:
    """A span of time in seconds: ``30``, ``30s``, ``5 min``; raise ArgumentTypeError for anything else."""
    seconds = age(text)
    if seconds > 31_536_000:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a year")
    return seconds


def age(text: str) -> float:
    """The same, however long."""
    try:
        return float(Duration.parse(f"{text} s" if text.replace(".", "", 1).isdecimal() else text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time; write 30s, 5min or 2h") from None


def count(text: str) -> int:
    """A number of lines; raise ArgumentTypeError for anything that the daemon would not take."""
    if not text.isdecimal() or not text.isascii() or int(text[:6]) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 10000")
    return int(text)
