"""The ``qsup`` command: a client of the control socket. It imports as little as it can; see :mod:`qsup.cli.fast`."""

import os
import sys

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGINT or SIGPIPE has ended."""


def main() -> int:
    """Do what the command line asks for; return the exit code (0 to 6 as README lists them)."""
    from qsup.cli import fast

    words = sys.argv[1:]
    try:
        code = fast.run(words)
        if code is None:
            from qsup.cli import full

            code = full.run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code
