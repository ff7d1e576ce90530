"""Those who watch a guest: a task for each of its duties, begun and ended as the duties change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.guest.duties import Duty
    from qsup.guest.hands import Hands
    from qsup.guest.inputs import Input
    from qsup.guest.state import State

log = logging.getLogger(__name__)


class Watching:
    """The watchers of one guest. What they see is posted as inputs."""

    def __init__(self, hands: Hands, post: Callable[[Input], None], state: Callable[[], State]) -> None:
        self._hands = hands
        self._post = post
        self._state = state

    def look(self, duties: frozenset[Duty]) -> None:
        """Watch this, and nothing else."""
