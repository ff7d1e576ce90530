"""What can be asked over the control socket: one declaration a command, from which the rest is derived.

A class gives the command's name, its arguments (in kebab case on the wire) and, as docstring, its description;
``query-commands``, ``query-schema`` and the checks of arguments read them. Where several guests can be meant,
``name`` asks about one: the answer is an object, and failure an error. ``names`` holds shell globs: the answer is
an array with an entry a guest, so that one guest's failure does not hide what became of the others.

With ``"format": "text"`` a command answers as a person at a terminal wants it: see :class:`.results.Text`.

``NEEDS`` is the role or the right that a command takes, with each guest that it is about. One that is about no guest
in particular takes it with any guest, and tells of those only that its caller sees; or, ``OF_HOST``, with all guests.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from qsup.drill.plan import Kind
from qsup.phase import Verb
from qsup.role import Need, Right, Role

GuestName = Annotated[str, Meta(min_length=1, max_length=64, description="A guest's name.")]
Glob = Annotated[str, Meta(min_length=1, max_length=64, description="A shell glob over guest names.")]
Globs = Annotated[tuple[Glob, ...], Meta(min_length=1, max_length=1024)]
SerialId = Annotated[str, Meta(max_length=20, description="A serial port's id; without it the first.")]
CrashId = Annotated[str, Meta(min_length=1, max_length=80, description="A bundle's id.")]
WallTime = Annotated[float, Meta(description="Seconds since the epoch.")]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000, description="Seconds.")]
CommandName = Annotated[
    str, Meta(min_length=1, max_length=128, description="A command of QEMU's or of its agent's.")
]
Lines = Annotated[int, Meta(ge=0, le=10_000)]
AlertName = Annotated[str, Meta(min_length=1, max_length=64, description="The name of an `[[alert]]`.")]
Format = Literal["json", "text"]

TAIL: Final = 256 * 1024
"""At most this many bytes of a log are sent, however many lines are asked for."""


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The base of all commands."""

    NAME: ClassVar[str] = ""
    NEEDS: ClassVar[Need]
    OF_HOST: ClassVar[bool] = False

    @property
    def needs(self) -> Need:
        """What this one takes."""
        return self.NEEDS


class Selection(Command, frozen=True):
    """The base of commands about one or several guests; ``ALL``: about all of them if it names none."""

    ALL: ClassVar[bool] = False

    name: GuestName | None = None
    names: Globs | None = None
    format: Format = "json"
    color: bool = False


class QueryGuests(Command, frozen=True):
    """All guests, or those that the globs match, sorted by name."""

    NAME = "query-guests"
    NEEDS = Role.OBSERVE
    names: Globs | None = None
    format: Format = "json"
    color: bool = False


class QueryGuest(Selection, frozen=True):
    """Everything known about a guest; without name and names about all."""

    NAME = "query-guest"
    NEEDS = Role.OBSERVE
    ALL = True


class GuestWhy(Selection, frozen=True):
    """How a guest came to its phase: the last cause, the rule that decided, the next try and when."""

    NAME = "guest-why"
    NEEDS = Role.OBSERVE
    ALL = True


class Act(Selection, frozen=True):
    """The base of commands that do something to guests.

    With ``wait`` (the default) the answer comes when it is done; ``timeout`` bounds the waiting, not the deed.
    """

    NEEDS = Role.OPERATE
    VERB: ClassVar[Verb]
    DEADLINE: ClassVar[float | None] = 30.0
    wait: bool = True
    timeout: Seconds | None = None


class GuestStart(Act, frozen=True):
    """Starts a guest that has no process, and wants it running from now on.

    Done when its vCPUs run; with ``ready`` when it is ready, for which its own file sets the limit. With ``due`` it is
    only started if it should run: as it was stopped within a ``budget``, or as its turn has not come since the host
    came up.
    """

    NAME = "guest-start"
    VERB = Verb.START
    DEADLINE = 60.0
    ready: bool = False
    due: bool = False


class GuestStop(Act, frozen=True):
    """Stops a guest by its stop ladder, and wants it stopped from now on. Done when no process is left.

    With a ``budget``, seconds, all that are named are gone after that: their ladders are shortened, as
    ``query-stop-plan`` tells; and they are not stopped for good, but started again with the host.
    """

    NAME = "guest-stop"
    VERB = Verb.STOP
    DEADLINE = None  # The guest's own ladder ends in SIGKILL.
    budget: Seconds | None = None


class QueryStopPlan(Command, frozen=True):
    """How a ``budget``, seconds, would be shared if all guests, or those that the globs match, were stopped.

    It counts those that run, and those that should.
    """

    NAME = "query-stop-plan"
    NEEDS = Role.OBSERVE
    budget: Seconds
    names: Globs | None = None
    format: Format = "json"


class GuestRestart(Act, frozen=True):
    """Stops a guest by its stop ladder and starts it with a new process. Done as ``guest-start`` is."""

    NAME = "guest-restart"
    VERB = Verb.RESTART
    DEADLINE = None
    ready: bool = False


class GuestReset(Act, frozen=True):
    """Resets the machine, as its reset button does; the process stays."""

    NAME = "guest-reset"
    VERB = Verb.RESET


class GuestKill(Act, frozen=True):
    """Ends the guest's process with SIGKILL, and wants it stopped from now on. What it had not written is lost."""

    NAME = "guest-kill"
    VERB = Verb.KILL


class GuestPause(Act, frozen=True):
    """Stops the guest's vCPUs."""

    NAME = "guest-pause"
    VERB = Verb.PAUSE


class GuestResume(Act, frozen=True):
    """Lets the guest's vCPUs run again."""

    NAME = "guest-resume"
    VERB = Verb.RESUME


class GuestMaintenance(Selection, frozen=True):
    """Says that somebody works on a guest for so many ``seconds``, or has done with it (0).

    Until then its health is not checked, and nothing is done about a hang.
    """

    NAME = "guest-maintenance"
    NEEDS = Role.OPERATE
    seconds: Seconds = 3600.0


class GuestDrill(Command, frozen=True):
    """Does to a guest what may happen to it some night, and tells whether all went as its file says.

    It must run, be ready, and have `[drill] allowed = true`. What it was doing may be lost.
    """

    NAME = "guest-drill"
    NEEDS = Role.ADMINISTER
    name: GuestName
    kind: Annotated[Kind, Meta(description="What is done.")]
    format: Format = "json"


class GuestArgv(Command, frozen=True):
    """The command line that the next start of a guest would execute."""

    NAME = "guest-argv"
    NEEDS = Role.OBSERVE
    name: GuestName


class GuestQmp(Command, frozen=True):
    """Passes a command to the guest's QEMU and gives QEMU's answer."""

    NAME = "guest-qmp"
    NEEDS = Right.RAW_QMP
    name: GuestName
    command: CommandName
    arguments: dict[str, Any] = {}


class GuestAgent(Command, frozen=True):
    """Passes a command to the guest agent and gives the agent's answer.

    Commands that are not answered when they work, such as ``guest-shutdown``, end with an error after the deadline.
    """

    NAME = "guest-agent"
    NEEDS = Right.AGENT_EXEC
    name: GuestName
    command: CommandName
    arguments: dict[str, Any] = {}


class GuestLog(Command, frozen=True):
    """The last lines of what the guest printed on a serial port, or of what its QEMU printed on stderr."""

    NAME = "guest-log"
    NEEDS = Role.OBSERVE
    name: GuestName
    serial: SerialId | None = None
    lines: Lines = 100
    stderr: bool = False


class GuestConsole(Command, frozen=True):
    """Attaches the connection to a serial port.

    After the answer it is a raw byte stream both ways, without events, until one side closes. ``tail`` is how many
    lines of the port's log are sent first.
    """

    NAME = "guest-console"
    NEEDS = Right.CONSOLE
    name: GuestName
    serial: SerialId | None = None
    read_only: bool = False
    tail: Lines = 0

    @property
    def needs(self) -> Need:
        """Who only looks needs no more than for the log."""
        return GuestLog.NEEDS if self.read_only else self.NEEDS


class CheckConfig(Command, frozen=True):
    """The problems of the configuration as it was last read."""

    NAME = "check-config"
    NEEDS = Role.OBSERVE


class ReloadConfig(Command, frozen=True):
    """Reads the configuration again. No running guest is touched; what an edit needs is said by query-guest."""

    NAME = "reload-config"
    NEEDS = Role.ADMINISTER
    OF_HOST = True


class QueryEvents(Command, frozen=True):
    """Recent events: those numbered above ``since``, not older than ``age`` seconds, of guests that the globs match."""

    NAME = "query-events"
    NEEDS = Role.OBSERVE
    since: Annotated[int, Meta(ge=0)] = 0
    age: Seconds | None = None
    names: Globs | None = None


class QueryCrashes(Command, frozen=True):
    """The bundles of abnormal ends, the newest first: of guests that the globs match, be they still there or not."""

    NAME = "query-crashes"
    NEEDS = Role.OBSERVE
    names: Globs | None = None
    format: Format = "json"
    color: bool = False


class QueryCrash(Command, frozen=True):
    """One bundle, with the sizes of its files: by its id, its guest (the newest), ``latest``, or how its id begins."""

    NAME = "query-crash"
    NEEDS = Role.OBSERVE
    id: CrashId
    format: Format = "json"


class CrashRead(Command, frozen=True):
    """A piece of a file of a bundle from ``offset`` on, in base64; an empty one is the end."""

    NAME = "crash-read"
    NEEDS = Role.OBSERVE
    id: CrashId
    file: Annotated[str, Meta(min_length=1, max_length=80)]
    offset: Annotated[int, Meta(ge=0, le=1 << 40)] = 0


class AlertTest(Command, frozen=True):
    """Sends a test message through an alert, and tells how each way went. ``guest`` is whom it seems to be about."""

    NAME = "alert-test"
    NEEDS = Role.ADMINISTER
    OF_HOST = True
    alert: AlertName
    guest: GuestName | None = None


class QueryHistory(Command, frozen=True):
    """What is kept of a guest, also of one that is gone: figures, and the newest ``limit`` events.

    With ``age``, seconds, or ``since``, wall time, only of that period.
    """

    NAME = "query-history"
    NEEDS = Role.OBSERVE
    name: GuestName
    age: Annotated[float, Meta(ge=0)] | None = None
    since: WallTime | None = None
    limit: Lines = 20
    format: Format = "json"


class QueryAccess(Command, frozen=True):
    """Who the caller is, and what it may do."""

    NAME = "query-access"
    NEEDS = Role.OBSERVE
    format: Format = "json"


class QueryVersion(Command, frozen=True):
    """The versions of qsup and of what it stands on."""

    NAME = "query-version"
    NEEDS = Role.OBSERVE


class QueryCommands(Command, frozen=True):
    """The names of all commands."""

    NAME = "query-commands"
    NEEDS = Role.OBSERVE


class QuerySchema(Command, frozen=True):
    """The JSON Schema of every command's arguments."""

    NAME = "query-schema"
    NEEDS = Role.OBSERVE


ACTS: Final = (GuestStart, GuestStop, GuestRestart, GuestReset, GuestKill, GuestPause, GuestResume)
QUERIES: Final = (
    QueryGuests, QueryGuest, GuestWhy, GuestMaintenance, GuestDrill, GuestArgv, GuestQmp, GuestAgent, GuestLog,
    GuestConsole, CheckConfig, ReloadConfig, QueryStopPlan, QueryEvents, QueryHistory, QueryCrashes, QueryCrash,
    CrashRead, AlertTest, QueryAccess, QueryVersion, QueryCommands, QuerySchema,
)  # fmt: skip
COMMANDS: Final[dict[str, type[Command]]] = {command.NAME: command for command in (*QUERIES, *ACTS)}
"""Every command by its name."""


def schema() -> dict[str, Any]:
    """What ``query-schema`` answers: for each command its description and the JSON Schema of its arguments."""
    _, components = msgspec.json.schema_components(COMMANDS.values(), ref_template="#/{name}")
    return {
        name: {
            "description": (command.__doc__ or "").strip(),
            "arguments": {
                key: value for key, value in components[command.__name__].items() if key != "description"
            },
        }
        for name, command in COMMANDS.items()
    }
