"""``qsup alert test``: whether those whom an alert is for would hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsup.cli.output import complain, show, show_json
from qsup.control.text import printable

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.control.client import Client


def test(daemon: Client, options: Options) -> int:
    """Send a test message, and tell how it went on each way; return 1 if it failed on one."""
    arguments = {"alert": options.name} | ({} if options.guest is None else {"guest": options.guest})
    # How long a way may take stands in the file; the daemon keeps to it.
    tested = daemon.call("alert-test", arguments, timeout=None)
    if options.json:
        show_json(tested)
    else:
        show("".join(f"{_line(one)}\n" for one in tested["deliveries"] if one["done"]))
        complain("\n".join(_line(one) for one in tested["deliveries"] if not one["done"]))
    return 0 if all(one["done"] for one in tested["deliveries"]) else 1


def _line(delivery: dict[str, Any]) -> str:
    return printable(f"{delivery['way']} to {delivery['to']}: {delivery['message']}")
