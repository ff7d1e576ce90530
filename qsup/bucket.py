"""A token bucket: a rate in the long run, a burst at once."""

from __future__ import annotations


class Bucket:
    """``rate`` tokens a second flow in, at most ``burst`` are kept. Times are seconds of any monotonic clock."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._counted: float | None = None

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take ``cost`` tokens; return how many seconds to wait before using them, 0.0 if they were there."""
        self._refill(now)
        self._tokens -= cost
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

    def holds(self, now: float) -> bool:
        """Whether there is a token."""
        self._refill(now)
        return self._tokens >= 1

    def spend(self, now: float) -> bool:
        """Take a token if there is one."""
        if not self.holds(now):
            return False
        self._tokens -= 1
        return True

    def _refill(self, now: float) -> None:
        if self._counted is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._counted) * self._rate)
        self._counted = now
