"""A history that holds what a test has put into it."""

from __future__ import annotations

from typing import Any

from qsup.history.kept import Account, Figures, Kept, Moment, Watch
from tests.fakes.fake_supervisor import SINCE

WATCH = Watch(
    id=1, boot="b0", version="0.1.0", pid=17, began=Moment(SINCE, 100.0), seen=Moment(SINCE + 60, 160.0)
)
"""The watch of the daemon before the present one."""


def figures(**facts: Any) -> Figures:
    """A day in which little went wrong; ``facts`` replace its fields."""
    base: dict[str, Any] = {
        "since": SINCE,
        "until": SINCE + 86400,
        "up": 86340.0,
        "down": 60.0,
        "off": 0.0,
        "unwatched": 0.0,
        "availability": 100 * 86340 / 86400,
        "runs": 3,
        "failures": {"qemu-signal": 2},
        "between_failures": 43170.0,
        "to_recover": 30.0,
        "longest_run": 50000.0,
        "to_ready": 0.25,
    }
    return Figures(**{**base, **facts})


def event(number: int, kind: str, watch: int = 1, **data: Any) -> Kept:
    """The event of that number, so many seconds after the beginning."""
    return Kept(number, watch, SINCE + number, 100.0 + number, number, "web1", kind, {"name": "web1", **data})


class FakeHistory:
    """Answers with ``accounts``, by name, and remembers what was asked."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.accounts: dict[str, Account] = {}
        self.asked: list[tuple[str, float | None, int]] = []

    async def of(self, guest: str, *, since: float | None, limit: int) -> Account:
        self.asked.append((guest, since, limit))
        return self.accounts.get(guest, Account(figures=None, events=(), more=False, watches={}))
