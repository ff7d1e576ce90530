"""What commands answer, as types; on the wire their keys are in kebab case and times are ISO 8601."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from qsup.clock import iso
from qsup.control.why import explain
from qsup.events import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsup.argv.invocation import Invocation
    from qsup.control.facade import Delivery
    from qsup.drill.hold import Report
    from qsup.errors import QsupError
    from qsup.guest.view import EndView, GuestView, IllView
    from qsup.history import kept


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The base of all answers."""


class Text(Result, frozen=True):
    """An answer for people: ``text`` for standard output, ``errors`` for standard error, and the exit code.

    ``exit`` stands first: the quick client reads no further if it is not 0.
    """

    exit: int
    text: str
    errors: str = ""


class End(Result, frozen=True):
    """How a run ended."""

    cause: str
    detail: str
    status: str | None
    at: str
    ran: float | None
    decision: str
    evidence: tuple[str, ...]
    bundle: str | None

    @classmethod
    def of(cls, end: EndView) -> Self:
        """The wire form of what the guest knows about its last end."""
        return cls(
            cause=end.cause,
            detail=end.detail,
            status=end.status,
            at=iso(end.at),
            ran=end.ran,
            decision=end.decision,
            evidence=end.evidence,
            bundle=end.bundle,
        )


class Ill(Result, frozen=True):
    """What is wrong with a guest that lives, and since when."""

    cause: str
    detail: str
    since: str

    @classmethod
    def of(cls, ill: IllView) -> Self:
        """The wire form."""
        return cls(cause=ill.cause, detail=ill.detail, since=iso(ill.at))


class Guest(Result, frozen=True):
    """One guest, now. ``name`` to ``since`` are the stable core that scripts may rely on."""

    name: str
    phase: str
    ready: bool
    pid: int | None
    wanted: str
    cause: str | None
    restarts: int
    since: str
    reason: str
    next_try: str | None
    run_state: str | None
    waiting_for: tuple[str, ...]
    failures: int
    limit: int
    last_end: End | None
    ready_after: float | None
    not_ready: str | None
    ill: Ill | None
    maintenance: str | None
    started_at: str | None
    adopted: bool
    file: str | None
    orphaned: bool
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    description: str
    machine: str
    accel: str | None
    qemu: str | None
    memory: int
    cpus: int
    run_dir: str | None
    serials: tuple[str, ...]
    helpers: dict[str, int]
    scope: str | None
    limits: dict[str, str]
    display: str | None
    trouble: str | None
    stopped_by: str | None

    @classmethod
    def of(cls, view: GuestView) -> Self:
        """The wire form of a view: the same facts, times as text."""
        facts = {field: getattr(view, field) for field in cls.__struct_fields__}
        facts["since"] = iso(view.since)
        facts["next_try"] = _optional_iso(view.next_try)
        facts["started_at"] = _optional_iso(view.started_at)
        facts["ill"] = Ill.of(view.ill) if view.ill else None
        facts["maintenance"] = _optional_iso(view.maintenance)
        facts["last_end"] = End.of(view.last_end) if view.last_end else None
        return cls(**facts)


class Why(Result, frozen=True):
    """How a guest came to its phase: ``sentences`` for people, the rest for programs."""

    name: str
    phase: str
    since: str
    sentences: tuple[str, ...]
    last_end: End | None
    next_try: str | None

    @classmethod
    def of(cls, view: GuestView, wall: float) -> Self:
        """The explanation of a guest's phase; ``wall`` is the time, seconds since the epoch."""
        return cls(
            name=view.name,
            phase=view.phase,
            since=iso(view.since),
            sentences=explain(view, wall),
            last_end=End.of(view.last_end) if view.last_end else None,
            next_try=_optional_iso(view.next_try),
        )


class Outcome(Result, frozen=True):
    """What became of a verb for one guest; ``message`` is a sentence without the guest's name."""

    name: str
    done: bool
    message: str
    error: str | None = None
    """The error's class, if it failed."""
    exit: int = 0
    cut_short: bool = False
    """It was stopped within one time with others, and had less of it than its file gives it."""

    @classmethod
    def failed(cls, name: str, error: QsupError) -> Self:
        """The outcome of a verb that failed for this guest."""
        return cls(name=name, done=False, message=str(error), error=error.wire_class, exit=error.exit_code)


class Expectation(Result, frozen=True):
    """One thing that was expected of a drill, and what was seen."""

    what: str
    expected: str
    seen: str
    ok: bool


class Drill(Result, frozen=True):
    """How a drill went."""

    name: str
    kind: str
    ok: bool
    expectations: tuple[Expectation, ...]

    @classmethod
    def of(cls, report: Report) -> Self:
        """The wire form of a report."""
        rows = tuple(
            Expectation(what=row.what, expected=row.expected, seen=row.seen, ok=row.ok) for row in report.rows
        )
        return cls(name=report.guest, kind=report.kind, ok=report.ok, expectations=rows)


class Origin(Result, frozen=True):
    """Where an option comes from: a table of the guest's, None for what qsup adds by itself.

    ``places`` are the lines, ``guests/web1.toml:12``, that say something in the table, what wins first; where no
    file does, the option is the table's default.
    """

    table: str | None
    places: tuple[str, ...]


class CommandLine(Result, frozen=True):
    """What the next start of a guest would execute: ``options`` are argv without the binary, an option an entry.

    ``origins`` has an entry for each of them. ``environment`` is what this QEMU gets to see beside what all do.
    """

    binary: str
    options: tuple[tuple[str, ...], ...]
    origins: tuple[Origin, ...]
    argv: tuple[str, ...]
    accel: str
    listeners: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def of(cls, invocation: Invocation, places: Callable[[tuple[str, ...]], Sequence[str]]) -> Self:
        """The wire form of an invocation; ``places`` tells the lines at which files speak of a table."""
        return cls(
            binary=invocation.binary,
            # Paths are a kind of str, which JSON does not know.
            options=tuple(tuple(map(str, option.words())) for option in invocation.options),
            origins=tuple(
                Origin(table=".".join(option.source) or None, places=tuple(places(option.source)))
                for option in invocation.options
            ),
            argv=tuple(map(str, invocation.argv)),
            accel=invocation.accel,
            listeners=tuple(map(str, invocation.inherited)),
            environment={name: str(text) for name, text in invocation.environment.items()},
        )


class Log(Result, frozen=True):
    """The end of a log; bytes that are no UTF-8 are replaced."""

    text: str


class Attached(Result, frozen=True):
    """The connection is a console from here on."""

    name: str
    serial: str
    read_only: bool


class Check(Result, frozen=True):
    """The problems of the configuration, each a text of its own."""

    guests: int
    problems: tuple[str, ...]


class Reloaded(Result, frozen=True):
    """What a reload found: names of guests, and the problems of what cannot be used."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    problems: tuple[str, ...]


class Delivered(Result, frozen=True):
    """What became of a message on one way; ``message`` is a sentence."""

    way: str
    to: str
    done: bool
    message: str


class AlertTested(Result, frozen=True):
    """How a test message of an alert went, on each of its ways."""

    alert: str
    deliveries: tuple[Delivered, ...]

    @classmethod
    def of(cls, alert: str, deliveries: Sequence[Delivery]) -> Self:
        """The wire form of what the daemon tells."""
        told = (Delivered(way=one.way, to=one.to, done=one.done, message=one.message) for one in deliveries)
        return cls(alert=alert, deliveries=tuple(told))


class Events(Result, frozen=True):
    """Recent events in QMP's shape; ``last`` is the number of the newest, to ask from the next time."""

    events: list[dict[str, Any]]
    last: int


class Figures(Result, frozen=True):
    """How a guest did over a period: times in seconds; ``up``, ``down``, ``off`` and ``unwatched`` make the period."""

    since: str
    until: str
    up: float
    down: float
    off: float
    unwatched: float
    availability: float | None
    runs: int
    failures: dict[str, int]
    between_failures: float | None
    to_recover: float | None
    longest_run: float | None
    to_ready: float | None

    @classmethod
    def of(cls, figures: kept.Figures) -> Self:
        """The wire form of figures: rounded to thousandths."""
        facts = {field: _rounded(getattr(figures, field)) for field in cls.__struct_fields__}
        return cls(**{**facts, "since": iso(figures.since), "until": iso(figures.until)})


class Watch(Result, frozen=True):
    """One daemon that watched: from when until when at least, and whether it has left in order."""

    boot: str
    version: str
    pid: int
    began: str
    seen: str
    orderly: bool

    @classmethod
    def of(cls, watch: kept.Watch) -> Self:
        """The wire form of a watch."""
        facts = {field: getattr(watch, field) for field in cls.__struct_fields__}
        return cls(**{**facts, "began": iso(watch.began.wall), "seen": iso(watch.seen.wall)})


class History(Result, frozen=True):
    """What is kept of a guest: events in QMP's shape, the newest last; ``trouble`` says why newer ones are missing."""

    name: str
    figures: Figures | None
    events: list[dict[str, Any]]
    more: bool
    watches: list[Watch]
    trouble: str | None

    @classmethod
    def of(cls, name: str, account: kept.Account, trouble: str | None) -> Self:
        """The wire form of an account."""
        return cls(
            name=name,
            figures=Figures.of(account.figures) if account.figures else None,
            events=[_event(event, account.watches[event.watch]) for event in account.events],
            more=account.more,
            watches=[Watch.of(watch) for watch in account.watches.values()],
            trouble=trouble,
        )


def worst(outcomes: list[Outcome]) -> int:
    """The exit code for several guests: the highest of theirs, 0 if all went well."""
    return max((outcome.exit for outcome in outcomes), default=0)


def _event(event: kept.Kept, watch: kept.Watch) -> dict[str, Any]:
    """As ``query-events`` has it; the number counts within the daemon's life, hence whose it is."""
    return {
        **wire(event.kind, event.data, event.wall),
        "seq": event.seq,
        "boot": watch.boot,
        "daemon": watch.pid,
    }


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _optional_iso(at: float | None) -> str | None:
    return None if at is None else iso(at)
