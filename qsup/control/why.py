"""How a guest came to its phase, told in sentences. Pure: a view and the time in, sentences out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.clock import iso
from qsup.control.text import duration, printable
from qsup.phase import Phase, Wanted

if TYPE_CHECKING:
    from qsup.guest.view import EndView, GuestView


def explain(view: GuestView, wall: float) -> tuple[str, ...]:
    """Everything that decided the guest's phase; the first sentence names it. ``wall`` is wall time in seconds."""
    sentences = [
        _phase(view, wall),
        _sentence(view.reason),
        _ill(view, wall),
        _maintenance(view),
        _wanted(view),
        *(_end(view.last_end, wall) if view.last_end else ()),
        _stopped_by(view),
        _failures(view),
        _next_try(view, wall),
        _waiting(view),
        _trouble(view),
        *_file(view),
    ]
    return tuple(sentence for sentence in sentences if sentence)


_IS: Final = {
    Phase.GAVE_UP: "given up (phase gave-up)",
    Phase.BACKOFF: "down until its restart is due (phase backoff)",
    Phase.UNREACHABLE: "alive but silent (phase unreachable)",
}


def _phase(view: GuestView, wall: float) -> str:
    state = f" ({view.run_state})" if view.run_state and view.run_state != view.phase else ""
    ready = ""
    if view.phase is Phase.RUNNING:
        ready = " and ready" if view.ready else ", not ready yet"
    since = f"since {iso(view.since)}, for {duration(wall - view.since)}"
    return f"{view.name} is {_IS.get(view.phase, view.phase)}{printable(state)}{ready} {since}."


def _ill(view: GuestView, wall: float) -> str:
    if view.ill is None:
        return ""
    return f"For {duration(wall - view.ill.at)} it is ill, {view.ill.cause}: {_sentence(view.ill.detail)}"


def _maintenance(view: GuestView) -> str:
    return f"It is under maintenance until {iso(view.maintenance)}." if view.maintenance else ""


def _wanted(view: GuestView) -> str:
    running = view.phase not in (Phase.STOPPED, Phase.GAVE_UP)
    if running == (view.wanted is Wanted.RUNNING):
        return ""
    return f"It is wanted {view.wanted}."


def _end(end: EndView, wall: float) -> list[str]:
    ran = f" after it had run for {duration(end.ran)}" if end.ran is not None else ""
    status = f", status {printable(end.status)}" if end.status else ""
    return [
        f"Its last run ended at {iso(end.at)}, {duration(wall - end.at)} ago{ran}: {end.cause}{status}.",
        _sentence(end.detail),
        f"What was decided then: {printable(end.decision)}." if end.decision else "",
        f"The evidence: {printable('; '.join(end.evidence))}." if end.evidence else "",
        f"All that was kept of it: `qsup crash show {end.bundle}`." if end.bundle else "",
    ]


def _stopped_by(view: GuestView) -> str:
    return f"The stop ladder's rung that ended it: {printable(view.stopped_by)}." if view.stopped_by else ""


def _failures(view: GuestView) -> str:
    if not view.failures:
        return ""
    limit = f" of {view.limit} that are allowed" if view.limit else ""
    return f"Failures within the window: {view.failures}{limit}."


def _next_try(view: GuestView, wall: float) -> str:
    if view.next_try is not None:
        return f"The next start is due at {iso(view.next_try)}, in {duration(view.next_try - wall)}."
    return f"There is no next try until `qsup start {view.name}`." if view.phase is Phase.GAVE_UP else ""


def _waiting(view: GuestView) -> str:
    return (
        f"It waits until these guests are ready: {', '.join(view.waiting_for)}." if view.waiting_for else ""
    )


def _trouble(view: GuestView) -> str:
    return f"The last command to it had trouble: {_sentence(view.trouble)}" if view.trouble else ""


def _file(view: GuestView) -> list[str]:
    sentences = []
    if view.orphaned:
        sentences.append("Its file has gone: it runs on until it is stopped, and cannot be started then.")
    if view.changes:
        sentences.append(
            f"Its file was edited; a restart is needed for: {printable('; '.join(view.changes))}."
        )
    if view.problems:
        sentences.append(f"Its file cannot be used: {printable('; '.join(view.problems))}.")
    return sentences


def _sentence(text: str) -> str:
    text = printable(text.strip())
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
