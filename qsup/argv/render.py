"""An invocation as text for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsup.argv.invocation import Invocation


def render(invocation: Invocation) -> str:
    """The command as a shell takes it, an option a line, ending in a newline.

    Pasted, it starts the same QEMU only where the sockets stand open at their fds.
    """
    seen = [f"{name}={shlex.quote(text)}" for name, text in invocation.environment.items()]
    options = (shlex.join(option.words()) for option in invocation.options)
    lines = [" ".join([*seen, shlex.quote(invocation.binary)]), *options]
    return " \\\n  ".join(lines) + "\n"
