"""What is told: to people as a subject and a text, to programs as JSON and as environment variables. Pure.

Guests, and QEMUs that they may have taken over, have a say in some of it. So each text is made printable, put on one
line and bounded before it goes anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from qsup.spec.problem import printable

if TYPE_CHECKING:
    from qsup.alerts.rules import Happening

LIMIT: Final = 1000
"""Characters of any one text, before those are escaped that cannot be printed."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of one alert; what is not known is None."""

    alert: str
    guest: str
    cause: str | None
    phase: str | None
    detail: str
    decision: str | None
    bundle: str | None
    """The bundle with the evidence of an abnormal end."""
    at: str
    """In ISO 8601."""
    host: str
    suppressed: int
    """How many about the same guest were left out since the last one."""
    test: bool = False
    """Whether nothing has happened, and somebody only wants to see whether the message arrives."""

    @classmethod
    def of(cls, happened: Happening, alert: str, *, at: str, host: str, suppressed: int) -> Self:
        """The message about something that happened."""
        return cls(
            alert=alert,
            guest=line(happened.guest),
            cause=_line(happened.cause),
            phase=_line(happened.phase),
            detail=line(happened.detail),
            decision=_line(happened.decision),
            bundle=_line(happened.bundle),
            at=at,
            host=line(host),
            suppressed=suppressed,
        )

    @property
    def subject(self) -> str:
        """It all in one short line."""
        what = ", ".join(word for word in (self.cause, self.phase) if word)
        test = f" (a test of alert {self.alert})" if self.test else ""
        return f"[qsup] {self.guest} on {self.host}: {what}{test}"

    @property
    def text(self) -> str:
        """All that there is to tell, in lines."""
        facts = [
            self.detail,
            f"What was decided: {self.decision}" if self.decision else "",
            f"Evidence: bundle {self.bundle}" if self.bundle else "",
            f"At: {self.at}",
            f"Left out since the last message: {self.suppressed} more about {self.guest}"
            if self.suppressed
            else "",
            f"This is alert {self.alert}; `qsup why {self.guest}` tells more.",
        ]
        return "".join(f"{fact}\n" for fact in (f"{self.subject}\n", *facts) if fact)

    def json(self) -> bytes:
        """The message for programs; README promises its shape."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return msgspec.json.encode({**facts, "subject": self.subject, "text": self.text})

    def environment(self) -> dict[str, str]:
        """The same for scripts: every fact is there, and empty if it is not known."""
        facts = {**msgspec.structs.asdict(self), "test": int(self.test), "subject": self.subject}
        return {f"QSUP_{key.upper()}": "" if value is None else str(value) for key, value in facts.items()}


def line(text: str) -> str:
    """A text as one line of bounded length, with nothing in it that is not printable."""
    return printable(text if len(text) <= LIMIT else f"{text[:LIMIT]}…")


def _line(text: str | None) -> str | None:
    return None if text is None else line(text)
