"""What a step asks for: descriptions of deeds, which the actor alone performs, in the order given."""

from __future__ import annotations

from typing import Any

import msgspec

from qsup.cause import Cause
from qsup.events import Kind


class Spawn(msgspec.Struct, frozen=True):
    """Launch QEMU under a new token; answers with Spawned or LaunchFailed, then Connected or ConnectFailed."""


class Connect(msgspec.Struct, frozen=True):
    """Connect to the living process once more; answers with Connected or ConnectFailed."""


class Qmp(msgspec.Struct, frozen=True):
    """Execute a QMP command; answers with QmpDone."""

    command: str
    arguments: dict[str, Any] = {}


class QueryStatus(msgspec.Struct, frozen=True):
    """Ask QEMU for its run state; answers with RunState, or with QmpDone and an error."""


class AskAgent(msgspec.Struct, frozen=True):
    """Have the guest agent power the guest off, or in mode ``reboot`` reboot it; answers with AgentAnswered."""

    mode: str = "powerdown"


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to QEMU, through its pidfd."""

    number: int


class Picture(msgspec.Struct, frozen=True):
    """Keep a picture of the guest's screen for the bundle that comes, after the QMP commands asked for before."""


class Collect(msgspec.Struct, frozen=True):
    """Make the bundle ``id`` of all that is known about an end, or about trouble of a guest that lives."""

    id: str
    cause: Cause
    detail: str
    evidence: tuple[str, ...]
    decision: str
    panic: str | None = None
    """What the guest's kernel printed as it panicked."""


class StartHelper(msgspec.Struct, frozen=True):
    """Start a helper anew under the running QEMU; answers with HelperExited if that fails, or it ends again."""

    name: str


class Arm(msgspec.Struct, frozen=True):
    """Start a timer, or start it anew; answers with Timer."""

    name: str
    seconds: float


class Cancel(msgspec.Struct, frozen=True):
    """Stop a timer, if it runs."""

    name: str


class Persist(msgspec.Struct, frozen=True):
    """Write the state to disk; what follows may rely on it."""


class Publish(msgspec.Struct, frozen=True):
    """Announce an event; the guest's name is added."""

    kind: Kind
    data: dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """Answer the operator's verb: accepted, with a sentence; or refused, with the reason."""

    text: str
    refused: bool = False


Deed = Spawn | Connect | Qmp | QueryStatus | AskAgent | Signal | Picture | Collect | StartHelper
"""What is done to the process, or because of it."""
Effect = Deed | Arm | Cancel | Persist | Publish | Reply
