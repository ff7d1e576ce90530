"""The ways of an alert: a command, a webhook, an e-mail."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING, Final

from qsup.alerts.way import DeliveryFailed
from qsup.alerts.webhook import Webhook
from qsup.errors import LaunchError
from qsup.proc import tool
from qsup.proc.helper import last_line
from qsup.proc.process import ENVIRONMENT
from qsup.spec.problem import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsup.alerts.message import Message
    from qsup.alerts.way import Way
    from qsup.spec.tables.alert import Alert
    from qsup.threads import Threads

TRY_AGAIN: Final = "exit 75"
"""EX_TEMPFAIL of sysexits.h: what sendmail cannot do now, it may be able to do later."""


def ways(alert: Alert, sendmail: str | None, threads: Threads) -> Iterator[Way]:
    """All the ways on which an alert goes; ``sendmail`` is the program for e-mail, if one is named."""
    deadline = float(alert.timeout)
    if alert.command:
        yield Command(alert.command, deadline)
    if alert.webhook is not None:
        yield Webhook(alert.webhook, alert.webhook_token_file, deadline, threads)
    if alert.mail:
        yield Mail(alert.mail, sendmail, deadline)


class Command:
    """A program that is run with the message."""

    kind = "command"

    def __init__(self, argv: Sequence[str], deadline: float) -> None:
        self._argv = argv
        self._deadline = deadline

    @property
    def to(self) -> str:
        """The program."""
        return self._argv[0]

    async def send(self, message: Message) -> None:
        """Run the program; done when it has exited with 0. Raises DeliveryFailed."""
        await _run(self._argv, self._deadline, message.json() + b"\n", message.environment())


class Mail:
    """E-mail to one or several receivers."""

    kind = "mail"

    def __init__(self, recipients: Sequence[str], sendmail: str | None, deadline: float) -> None:
        # Nothing of what makes e-mail is needed where nobody gets any.
        from qsup.alerts.mail import email

        self._email = email
        self._recipients = recipients
        self._sendmail = sendmail
        self._deadline = deadline

    @property
    def to(self) -> str:
        """The receivers."""
        return ", ".join(self._recipients)

    async def send(self, message: Message) -> None:
        """Hand the mail to sendmail; done when that has taken it. Raises DeliveryFailed."""
        mail = self._email(message, self._recipients, secrets.token_hex(16))
        await _run([program(self._sendmail), "-t", "-i"], self._deadline, mail, {})


def program(sendmail: str | None) -> str:
    """The path of sendmail: the one that is named, else the one in the PATH. Raises DeliveryFailed if there is none."""
    found = sendmail or shutil.which("sendmail", path=ENVIRONMENT["PATH"])
    if found is None:
        raise DeliveryFailed("there is no sendmail in the PATH; install one, or name it: sendmail = …")
    return found


async def _run(argv: Sequence[str], deadline: float, given: bytes, more: dict[str, str]) -> None:
    try:
        status, said = await tool.run(argv, deadline, given=given, environment={**ENVIRONMENT, **more})
    except LaunchError as error:
        raise DeliveryFailed(str(error)) from error
    if str(status) != "exit 0":
        words = f"; it said: {last}" if (last := last_line(said)) else ""
        raise DeliveryFailed(clipped(f"{argv[0]}: {status}{words}"), again=str(status) == TRY_AGAIN)
