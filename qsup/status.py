"""How a process ended."""

from __future__ import annotations

import signal
from typing import Literal, Self

import msgspec


class ExitStatus(msgspec.Struct, frozen=True):
    """``exit`` with a status, or ``signal`` with a signal's number."""

    how: Literal["exit", "signal"]
    number: int

    @classmethod
    def from_wait(cls, status: int) -> Self:
        """Decode a wait status as wait(2) gives it."""
        if status & 0x7F:
            return cls("signal", status & 0x7F)
        return cls("exit", (status >> 8) & 0xFF)

    def __str__(self) -> str:
        if self.how == "exit":
            return f"exit {self.number}"
        try:
            return f"signal {self.number} ({signal.Signals(self.number).name})"
        except ValueError:
            return f"signal {self.number}"
