"""``qsup events``: what happened, and with ``--follow`` what happens."""

from __future__ import annotations

import sys
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from qsup.cli.output import show, show_json
from qsup.control.text import printable
from qsup.control.told import told

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.control.client import Client


def events(daemon: Client, options: Options) -> int:
    """Print recent events; with ``--follow`` those within ``--since`` only, and then every new one."""
    arguments: dict[str, Any] = {"names": options.guests} if options.guests else {}
    age = options.since if options.since is not None else 0.0 if options.follow else None
    recent = daemon.call("query-events", arguments | ({} if age is None else {"age": age}))
    for event in recent["events"]:
        _show(event, options)
    if options.follow:
        sys.stdout.flush()
        for event in daemon.events():
            # An event from between connecting and asking is among the recent ones already.
            if event["seq"] > recent["last"] and _is_asked_for(event, options.guests):
                _show(event, options)
                sys.stdout.flush()
    return 0


def _is_asked_for(event: dict[str, Any], globs: list[str]) -> bool:
    name = event["data"].get("name")
    return not globs or (isinstance(name, str) and any(fnmatchcase(name, glob) for glob in globs))


def _show(event: dict[str, Any], options: Options) -> None:
    if options.json:
        show_json(event, indent=None)
    else:
        show(line(event) + "\n")


def line(event: dict[str, Any]) -> str:
    """An event on one line: when, which guest, what."""
    stamp = event["timestamp"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp["seconds"]))
    name = event["data"].get("name", "-")
    what = told(event["event"], event["data"])
    return printable(f"{when}.{stamp['microseconds'] // 1000:03}  {name}  {event['event']}  {what}")
