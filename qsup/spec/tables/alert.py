"""Whom the daemon tells of what. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from qsup.cause import Cause
from qsup.phase import Phase
from qsup.spec.address import WEB_URL, WebUrl
from qsup.spec.base import Finding, HostPath, Identifier, Section, Text, about, form, within
from qsup.spec.problem import shown
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIL = form(
    r"^[A-Za-z0-9._%+=-]{1,64}(@[A-Za-z0-9.-]{1,253})?$(?!\n)",
    'write "ops@example.org", or a local user\'s name',
)


class Alert(Section, frozen=True, kw_only=True):
    """Somebody to tell when something happens to a guest, as often as wished: `[[alert]]`. `qsup alert test NAME` tries it."""

    name: Annotated[Identifier, about("What messages call it, and what `qsup alert test NAME` takes.")]
    guests: Annotated[
        tuple[Text, ...], about("Which guests it is about, by their names or globs.", max_length=256)
    ] = ("*",)
    causes: Annotated[
        tuple[Cause, ...], about("It is sent when a guest meets one of these causes.", max_length=64)
    ] = ()
    phases: Annotated[
        tuple[Phase, ...], about("It is sent when a guest comes to one of these phases.", max_length=16)
    ] = ()
    command: Annotated[
        tuple[Text, ...],
        about(
            "A program and its arguments, run as the daemon's user, with `QSUP_GUEST`, `QSUP_CAUSE`, `QSUP_PHASE`, `QSUP_DETAIL` and the like in its environment and the message as JSON on its stdin.",
            max_length=64,
        ),
    ] = ()
    webhook: Annotated[
        Annotated[str, WEB_URL] | None, about("A URL that the message is posted to, as JSON.")
    ] = None
    webhook_token_file: Annotated[
        HostPath | None,
        about(
            "A file with a token that the webhook asks for, sent as `Authorization: Bearer`; read each time."
        ),
    ] = None
    mail: Annotated[
        tuple[Annotated[str, MAIL], ...], about("Who gets an e-mail, through `sendmail`.", max_length=32)
    ] = ()
    limit: Annotated[
        int,
        Meta(ge=1, le=1000),
        about(
            "How many are sent about one guest within `window`; how many were left out is told with the next."
        ),
    ] = 5
    window: Annotated[Duration, about("How far back `limit` counts.")] = Duration.parse("1 h")
    timeout: Annotated[
        Duration,
        about("How long the command, the webhook or `sendmail` may take before it is given up, each time."),
    ] = Duration.parse("30 s")

    def wrong(self) -> Iterator[Finding]:
        """An alert that nothing causes, or that reaches nobody."""
        yield from within("window", self.window, "1 s", "7 d")
        yield from within("timeout", self.timeout, "1 s", "10 min")
        if not self.guests:
            yield ("guests",), 'names no guest; without the key it is about all of them, ["*"]'
        if not self.causes and not self.phases:
            yield ("causes",), "is missing, and so is `phases`: nothing would ever cause this alert"
        if not self.command and self.webhook is None and not self.mail:
            yield ("command",), "is missing, and so are `webhook` and `mail`: nobody would be told"
        if self.command and not self.command[0].startswith("/"):
            yield ("command", 0), f"{shown(self.command[0])} is no absolute path"
        if self.webhook is not None and (trouble := WebUrl.of(self.webhook).trouble):
            yield ("webhook",), trouble
        if self.webhook is None and self.webhook_token_file is not None:
            yield ("webhook-token-file",), "needs webhook, which asks for it"
