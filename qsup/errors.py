"""The errors that qsup raises, as a tree.

::

    QsupError              a message for the operator, an exit code for the command, a class for the wire
    ├── UsageError         the command or its arguments make no sense                       exit 2
    ├── GuestNotFound      no guest has this name                                           exit 3
    ├── DaemonUnreachable  nobody answers on the control socket                             exit 4
    ├── NotAllowed         the peer may not do this                                         exit 5
    ├── TimedOut           the answer did not come in time; the deed may still happen       exit 6
    ├── Refused            the guest's phase does not admit the verb                        exit 1
    ├── SpecError          guest files that cannot be used; carries every problem           exit 1
    ├── LaunchError        QEMU could not be started; carries the evidence                  exit 1
    ├── RecordError        a record on disk that cannot be read                             exit 1
    ├── ScopeError         a guest's processes could not be put, or limited, as wanted      exit 1
    ├── DBusError          a service of the bus has refused                                 exit 1
    ├── DBusUnreachable    the bus, or a service on it, does not answer                     exit 1
    └── QmpError           talking to QEMU failed
        ├── QmpRefused     QEMU answered with an error: the command was not executed
        ├── QmpUnanswered  no answer within the deadline: unknown whether it was executed
        │   └── QmpMute    a QMP monitor has greeted, and answers nothing
        ├── QmpBusy        another conversation has the channel: no answer is to be had now
        └── QmpLost        the session ended: unknown whether it was executed
            └── QmpGarbled what the peer sent is no answer

A message says what happened, to which guest or in which file, and what to do about it.
"""

from __future__ import annotations


class QsupError(Exception):
    """The root: ``str(error)`` is a sentence for the operator."""

    exit_code = 1
    wire_class = "GenericError"


class UsageError(QsupError):
    """The command or its arguments make no sense."""

    exit_code = 2
    wire_class = "UsageError"


class GuestNotFound(QsupError):
    """No guest has this name."""

    exit_code = 3
    wire_class = "GuestNotFound"

    @classmethod
    def of(cls, name: str) -> GuestNotFound:
        """The same words for a guest that does not exist and for one that somebody is not to know of."""
        return cls(f"there is no guest {name}; `qsup list` shows those that there are")


class DaemonUnreachable(QsupError):
    """Nobody answers on the control socket."""

    exit_code = 4
    wire_class = "DaemonUnreachable"


class NotAllowed(QsupError):
    """The peer may not do this."""

    exit_code = 5
    wire_class = "NotAllowed"


class TimedOut(QsupError):
    """The answer did not come in time; what was asked may still happen."""

    exit_code = 6
    wire_class = "TimedOut"


class Refused(QsupError):
    """The guest's phase does not admit the verb; nothing was done."""

    wire_class = "Refused"


class SpecError(QsupError):
    """Files that cannot be used. The message holds every problem, one a line."""

    wire_class = "SpecError"


class LaunchError(QsupError):
    """QEMU could not be started. ``stderr`` holds what it said, if it got far enough to speak."""

    def __init__(self, message: str, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class RecordError(QsupError):
    """A record on disk is torn, foreign or of an unknown version."""


class ScopeError(QsupError):
    """A guest's processes could not be put into a scope of their own, or not be limited as its file says."""


class DBusError(QsupError):
    """A service of the bus has answered with an error: what was asked was not done. ``name`` is D-Bus's for it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class DBusUnreachable(QsupError):
    """The bus, or a service on it, does not answer: unknown whether it was done."""


class QmpError(QsupError):
    """Talking to QEMU failed."""


class QmpRefused(QmpError):
    """QEMU answered with an error: the command was not executed. ``qmp_class`` is QMP's error class."""

    def __init__(self, message: str, qmp_class: str = "GenericError") -> None:
        super().__init__(message)
        self.qmp_class = qmp_class


class QmpUnanswered(QmpError):
    """No answer within the deadline: unknown whether the command was executed."""


class QmpMute(QmpUnanswered):
    """The monitor has greeted, which takes no main loop, and answers nothing."""


class QmpBusy(QmpError):
    """Another conversation has the channel, or has taken it away: there is no answer to be had now."""


class QmpLost(QmpError):
    """The session ended before the answer: unknown whether the command was executed."""


class QmpGarbled(QmpLost):
    """What the peer sent is no answer, or too much."""
