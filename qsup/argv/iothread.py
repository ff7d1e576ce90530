"""Threads that do nothing but the I/O of disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.quote import as_json, sourced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """An object for each; where it runs is the supervisor's to say, once it is there."""
    for name in draft.spec.iothread:
        thread = {"qom-type": "iothread", "id": thread_id(name)}
        yield from sourced(("iothread", name), [as_json("-object", thread)])


def thread_id(name: str) -> str:
    """The id of a thread's object, by which QMP's ``query-iothreads`` tells its thread on the host."""
    return f"iothread-{name}"
