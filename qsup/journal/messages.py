"""What the journal is told of each kind of event, and what an operator does about it: declared once, for ever.

The ids are ``MESSAGE_ID=`` of sd_journal_print(3): scripts and rules look for them, so none is ever changed or used for
something else. The explanations go into ``systemd/qsup.catalog``, out of which ``journalctl -x`` shows them. Pure.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.events import Event, Kind
from qsup.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator


WIDTH: Final = 78
_COMMAND: Final = re.compile(r"`[^`]+`")
_KEPT: Final = "\N{NO-BREAK SPACE}"


class Message(msgspec.Struct, frozen=True):
    """One kind of entry. In ``subject`` and ``text`` stands ``@FIELD@`` for what the entry has there."""

    id: str
    subject: str
    text: str


MESSAGES: Final = {
    Kind.PHASE: Message(
        "c459fd4ea98c45b7b9807c5e70d943e3",
        "Guest @QSUP_GUEST@ is @QSUP_PHASE@ now",
        """
The guest has come to another phase of its life, or is there for another reason, which the message tells.

Nothing has to be done. `qsup status @QSUP_GUEST@` shows all about the guest, `qsup why @QSUP_GUEST@` how it came there.
""",
    ),
    Kind.READY: Message(
        "e0aa1f2062304f3cb6a37799a5fe2389",
        "Guest @QSUP_GUEST@ is ready",
        """
The guest has passed the check in [ready] of its file, or runs, if that has none. Guests that come `after` it start now.
""",
    ),
    Kind.ENDED: Message(
        "b50b477c08484677b55461c2a6311cc0",
        "A run of guest @QSUP_GUEST@ ended: @QSUP_CAUSE@",
        """
The QEMU of the guest has ended. The message tells the cause, what it was concluded from, and what the [restart] table
of the guest's file has decided.

`qsup why @QSUP_GUEST@` explains it. After an abnormal end `qsup crash show @QSUP_GUEST@` shows what is known of it:
QEMU's last words, the consoles, the last QMP messages, the host's figures. `journalctl QSUP_GUEST=@QSUP_GUEST@` shows
what came before. If it comes back again and again, mend the cause, or have a rule for it in [restart.on].
""",
    ),
    Kind.TROUBLE: Message(
        "dbff293670174ef9892b88b500b42a0f",
        "Something is wrong with guest @QSUP_GUEST@: @QSUP_CAUSE@",
        """
The guest or its QEMU lives, and something is wrong with it. The message tells what, and what is done about it by the
guest's file.

`qsup why @QSUP_GUEST@` tells more. What is paused for its disk goes on by itself once there is room, or with
`qsup resume @QSUP_GUEST@`. While somebody works on it, `qsup maintenance @QSUP_GUEST@ on --for 1h` keeps the
supervisor from acting.
""",
    ),
    Kind.RECOVERED: Message(
        "a0fd5eb804e7423aa6f29efc0ca44b45",
        "Guest @QSUP_GUEST@ is well again after @QSUP_CAUSE@",
        """
What was wrong with the guest is over, without a new process. Nothing has to be done.
""",
    ),
    Kind.STATUS: Message(
        "ab4c8eeb5742484bbcf9b3fd17b5396f",
        "The exit status of the last QEMU of guest @QSUP_GUEST@ is known now",
        """
The QEMU had ended while no daemon was there, or had been started by an earlier one, so that the kernel told its exit
status late. Nothing has to be done; `qsup why @QSUP_GUEST@` has it.
""",
    ),
    Kind.NOTICE: Message(
        "7e05697a440d454fa3b150af60c0ae7f",
        "About guest @QSUP_GUEST@",
        """
Something about the guest that changes nothing in its phase, but that its operator may want to know.
""",
    ),
    Kind.SPEC: Message(
        "51876d5ba3984499b97eeffed475c984",
        "The file of guest @QSUP_GUEST@ says something else now",
        """
The guest's definition was added, changed or removed. What runs is not touched by that.

`qsup status @QSUP_GUEST@` shows what its next start changes, `qsup restart @QSUP_GUEST@` has that happen now.
""",
    ),
    Kind.COMMAND: Message(
        "a1a63024433948e0b17312316bc75ea5",
        "@QSUP_BY@ has given the command @QSUP_COMMAND@",
        """
Somebody has told the daemon to do something, over its control socket, and is allowed to. What has come of it stands in
the entries that follow.

Who may do what is written in [[access]] of qsup.toml; `qsup whoami` tells everybody what they may do.
`journalctl QSUP_EVENT=COMMAND` shows all that was commanded.
""",
    ),
    Kind.ALERT_FAILED: Message(
        "e1ddc74a715140af87194454891862da",
        "An alert about guest @QSUP_GUEST@ did not reach anybody",
        """
A message of an [[alert]] in qsup.toml could not be delivered. It is told once, until one gets through again.

Look at the command, the address or the mail server that the message names; `qsup alert test NAME` tries it, and tells
how each way went.
""",
    ),
    Kind.RELOADED: Message(
        "0fbc22d687314414b328bff862c81f05",
        "The configuration was read again",
        """
All files in the configuration directory were read. No running guest is touched by that.

If there are problems, the guests and settings concerned stay as they were; `qsup check` shows what is wrong, with file,
line and key.
""",
    ),
}
"""For each kind of event."""
PHASES: Final = {
    Phase.GAVE_UP: Message(
        "716ce5f9a53843fa8a611eb7315846bb",
        "Guest @QSUP_GUEST@ is given up: it stays off until somebody starts it",
        """
The guest has failed as often within `restart.window` as `restart.limit` of its file allows, so it is not started again
by itself.

`qsup why @QSUP_GUEST@` tells how its last run ended, `qsup crashes @QSUP_GUEST@` lists the bundles of all of them. Mend
the cause, then `qsup start @QSUP_GUEST@`, which clears the count.
""",
    ),
    Phase.UNREACHABLE: Message(
        "471105384e524670ab7dccb4f55c062c",
        "The QEMU of guest @QSUP_GUEST@ lives and does not answer",
        """
There is no QMP session to the guest's QEMU, or it is silent. The guest itself may be well. A new session is tried again
and again; what is done if that lasts is in [hang] of the guest's file.

`qsup status @QSUP_GUEST@` shows the process, whose state `ps` and `cat /proc/PID/wchan` tell more about: one that is
in state D waits for the host's storage, one in T was stopped by a signal. `qsup kill @QSUP_GUEST@` ends it.
""",
    ),
}
"""For phases that ask for something of their own."""
BUG: Final = Message(
    "5a33c8a4cc914daa8aa9b67adde55ce1",
    "A bug in qsup",
    """
Something happened that should not be possible. The daemon goes on, and no guest was touched by that alone.

Please report it, with this entry and those around it: `journalctl -u qsupd -o verbose --since -5min`.
""",
)
"""Of an entry that has a traceback."""


def message_of(event: Event) -> Message:
    """Which kind of entry tells of an event."""
    if event.kind is Kind.PHASE:
        return PHASES.get(event.data["phase"], MESSAGES[Kind.PHASE])
    return MESSAGES[event.kind]


def catalog() -> str:
    """The catalog file; its form is in systemd's documentation (``docs/CATALOG``)."""
    return "\n".join(
        ["# Written by scripts/readme, out of qsup/journal/messages.py.\n", *map(_entry, _all())]
    )


def _all() -> Iterator[Message]:
    yield from MESSAGES.values()
    yield from PHASES.values()
    yield BUG


def _entry(message: Message) -> str:
    text = "\n\n".join(_wrapped(paragraph) for paragraph in message.text.strip().split("\n\n"))
    return (
        f"-- {message.id}\nSubject: {message.subject}\nDefined-By: qsup\nDocumentation: man:qsup(1)\n"
        f"Documentation: man:qsupd(8)\n\n{text}\n"
    )


def _wrapped(paragraph: str) -> str:
    """As wide as a terminal; what is to be typed stays on one line."""
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _KEPT), " ".join(paragraph.split()))
    return textwrap.fill(whole, WIDTH, break_on_hyphens=False, break_long_words=False).replace(_KEPT, " ")
