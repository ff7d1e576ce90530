"""A message as an e-mail (RFC 5322), for ``sendmail -t``. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.alerts.message import Message

_POLICY: Final = SMTP.clone(linesep="\n")
"""What leaves the host is for sendmail to put right; here lines end as everywhere on Unix."""
SUBJECT: Final = 200
"""Characters of a subject."""


def email(message: Message, recipients: Sequence[str], identity: str) -> bytes:
    """The e-mail; ``identity`` makes its Message-ID unique."""
    domain = re.sub(r"[^A-Za-z0-9.-]", "", message.host).strip(".-") or "localhost"
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = f"qsup@{domain}"
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = message.subject[:SUBJECT]
    mail["Date"] = format_datetime(datetime.fromisoformat(message.at))
    mail["Message-ID"] = f"<{identity}@{domain}>"
    # RFC 3834: nobody's absence is to be told to a daemon.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Qsup-Alert"] = message.alert
    mail["X-Qsup-Guest"] = message.guest
    mail.set_content(message.text)
    return mail.as_bytes()
