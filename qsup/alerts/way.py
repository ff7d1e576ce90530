"""A way on which a message reaches somebody, and how that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qsup.errors import QsupError

if TYPE_CHECKING:
    from qsup.alerts.message import Message


class DeliveryFailed(QsupError):
    """A message did not reach its receiver; ``again`` tells whether another try may go better."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class Way(Protocol):
    """A way of delivery, ready to be used as often as wished."""

    @property
    def kind(self) -> str:
        """The key that declares it: ``command``, ``webhook`` or ``mail``."""

    @property
    def to(self) -> str:
        """Where it leads, as far as everybody may know."""

    async def send(self, message: Message) -> None:
        """Deliver the message, within a bounded time. Raises DeliveryFailed."""
