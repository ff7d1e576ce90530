"""Where the daemon's log goes: to the journal by its own protocol where stderr leads there, to stderr otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Final

from qsup.journal.messages import BUG
from qsup.journal.native import IDENTIFIER, Journal, is_journal

FIELDS: Final = "fields"
"""What ``extra`` of a log call gives the journal beside the line: names of fields and their values."""
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def log_to_where_stderr_leads() -> Journal | None:
    """Set up logging; return the journal if that is where it goes."""
    plain = logging.StreamHandler(sys.stderr)
    journal = Journal() if is_journal(sys.stderr.fileno()) else None
    # The journal has times of its own.
    plain.setFormatter(logging.Formatter("%(message)s" if journal else "%(asctime)s %(message)s", "%H:%M:%S"))
    handler = JournalHandler(journal, plain) if journal else plain
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return journal


class JournalHandler(logging.Handler):
    """Sends records to the journal; those that cannot be sent go to another handler."""

    def __init__(self, journal: Journal, otherwise: logging.Handler) -> None:
        super().__init__()
        self.setFormatter(otherwise.formatter)
        self._journal = journal
        self._otherwise = otherwise

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._journal.send(fields(record, self.format(record)))
        except OSError:
            self._otherwise.handle(record)


def fields(record: logging.LogRecord, message: str) -> dict[str, str]:
    """The fields of a record, as it is customary to name them (systemd.journal-fields(7))."""
    bug = {"MESSAGE_ID": BUG.id} if record.exc_info else {}
    return {
        "MESSAGE": message,
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
        "LOGGER": record.name,
        "THREAD_NAME": record.threadName or "",
        **bug,
        **getattr(record, FIELDS, {}),
    }


def priority(level: int) -> int:
    """The priority of syslog(3) for a level of :mod:`logging`."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)
