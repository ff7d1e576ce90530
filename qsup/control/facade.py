"""What the control socket needs of the daemon, as protocols.

:class:`qsup.supervisor.Supervisor` is what it knows as ``Guests``, :class:`qsup.alerts.alerts.Alerts` as ``Alerts``,
:class:`qsup.history.history.History` as ``History``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from qsup.argv.invocation import Invocation
    from qsup.blackbox.shelf import Shelf
    from qsup.budget import Plan
    from qsup.bus import Bus
    from qsup.drill.hold import Report
    from qsup.drill.plan import Kind as Drill
    from qsup.errors import QsupError
    from qsup.fleet import Stopped
    from qsup.guest.view import GuestView
    from qsup.history.kept import Account
    from qsup.phase import Verb


class Configuration(Protocol):
    """What was read from the configuration directory."""

    @property
    def guests(self) -> Mapping[str, Any]:
        """The guests whose files can be used."""

    @property
    def problems(self) -> Sequence[object]:
        """What is wrong; ``str`` of each is for the operator."""

    @property
    def by_guest(self) -> Mapping[str, Sequence[object]]:
        """The problems of each guest that has a file that cannot be used."""


class Reload(Protocol):
    """What a reload found."""

    @property
    def added(self) -> Sequence[str]:
        """Guests whose files are new."""

    @property
    def changed(self) -> Sequence[str]:
        """Guests whose files say something else now."""

    @property
    def removed(self) -> Sequence[str]:
        """Guests whose files have gone."""

    @property
    def problems(self) -> Sequence[object]:
        """What cannot be used, and why."""


class Console(Protocol):
    """One serial port of a running or stopped guest."""

    def attach(self) -> AbstractContextManager[AsyncIterable[bytes]]:
        """A new viewer of what the guest prints from now on."""

    async def write(self, data: bytes) -> None:
        """Type into the port; raise QsupError if the guest does not run."""

    def tail(self, limit: int) -> bytes:
        """The last ``limit`` bytes of the port's log."""


class Delivery(Protocol):
    """What became of a message on one way."""

    @property
    def way(self) -> str:
        """The key that declares the way."""

    @property
    def to(self) -> str:
        """Where it leads."""

    @property
    def done(self) -> bool:
        """Whether the message has arrived there."""

    @property
    def message(self) -> str:
        """How it went, as a sentence."""


class Alerts(Protocol):
    """The alerts that the daemon sends."""

    async def test(self, name: str, guest: str, phase: str | None) -> Sequence[Delivery]:
        """Send a test message about a guest; raise UsageError if no alert has this name."""


class History(Protocol):
    """Everything that happened, kept."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be kept for now, as a sentence."""

    async def of(self, guest: str, *, since: float | None, limit: int) -> Account:
        """What is kept of a guest from ``since`` (wall time) on, the newest ``limit`` events; raise QsupError."""


class Fleet(Protocol):
    """What is done to many guests, each of which may fail alone; and the wait for what was asked of one."""

    async def finished(self, name: str, verb: Verb, *, ready: bool = False) -> str:
        """Wait until the verb's deed is done and say how; raise QsupError if it failed."""

    async def start_many(
        self, names: list[str], *, by: str, ready: bool = False
    ) -> Mapping[str, str | QsupError]:
        """Start guests in their order, wait for each, and tell what became of each."""

    async def start_again(self, names: list[str], *, by: str) -> Mapping[str, str | QsupError]:
        """Start in their order those that should run, wait for each, and tell what became of each."""

    async def stop_many(self, names: list[str], *, by: str) -> Mapping[str, str | QsupError]:
        """Stop guests in reverse order, wait for each, and tell what became of each."""

    async def stop_within(
        self, names: list[str], budget: float, *, by: str
    ) -> Mapping[str, Stopped | QsupError]:
        """Stop guests in reverse order within so many seconds, not for good, and tell what became of each."""

    def stop_plan(self, names: list[str], budget: float) -> Plan:
        """How the time would be shared."""


class Guests(Protocol):
    """All guests, and what can be asked of them. A name that no guest has raises GuestNotFound everywhere."""

    @property
    def bus(self) -> Bus:
        """Where events are announced."""

    @property
    def version(self) -> dict[str, Any]:
        """Versions of qsup and of what it stands on."""

    @property
    def crashes(self) -> Shelf:
        """What is known of abnormal ends."""

    @property
    def fleet(self) -> Fleet:
        """What can be done to many of them, or waited for."""

    def names(self) -> list[str]:
        """All names, sorted."""

    def view(self, name: str) -> GuestView:
        """One guest, now."""

    async def command(self, name: str, verb: Verb, *, by: str) -> str:
        """Accept a verb and say in a sentence what was accepted; raise Refused if the phase forbids it."""

    async def maintain(self, name: str, seconds: float, *, by: str) -> str:
        """Take a guest for under maintenance for a time, or no longer if that is 0; say what was accepted."""

    async def drill(self, name: str, kind: Drill, *, by: str) -> Report:
        """Hold a fire drill with a guest and tell how it went; raise Refused if it may not be held."""

    async def qmp(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        """Pass a command to the guest's QEMU; raise QmpError."""

    async def agent(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        """Pass a command to the guest's agent; raise QmpError."""

    async def invocation(self, name: str) -> Invocation:
        """What the next start would execute."""

    def places(self, name: str, table: tuple[str, ...]) -> Sequence[str]:
        """Where the files speak of a table of the guest: ``guests/web1.toml:12``, what wins first."""

    def configuration(self) -> Configuration:
        """The configuration as it was last read."""

    async def reload(self) -> Reload:
        """Read the configuration again."""

    def console(self, name: str, serial: str | None) -> Console:
        """A serial port, the first one for None; raise QsupError if the guest has no such port."""

    def stderr_tail(self, name: str, limit: int) -> str:
        """What QEMU printed on stderr in the current or last launch, the last ``limit`` bytes of it."""
