"""What is to be executed, as whoever executes it is told; and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_FDS: Final = 8192
"""As many, and as high a number, as a process is given."""


class Memory(NamedTuple):
    """Where a process's memory comes from, as in a guest's ``[limits]``."""

    policy: str = "default"
    nodes: frozenset[int] = frozenset()


ANYWHERE: Final = Memory()


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program to execute, in a session of its own, with no other fds than those that are handed over.

    0, 1 and 2 should be among them: else they are those of whoever executes it.
    """

    argv: tuple[str, ...]
    """The words; the first is an absolute path."""
    environment: dict[str, str]
    """All of it."""
    targets: tuple[Annotated[int, msgspec.Meta(ge=0, lt=MOST_FDS)], ...] = ()
    """The numbers that the fds which are handed over have there, in the same order."""
    memory: Memory = ANYWHERE
    kept: bool = False
    """Whether its status waits for whoever comes after the one that has ordered it."""

    @classmethod
    def of(
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        fds: Mapping[int, int],
        memory: Memory = ANYWHERE,
        *,
        kept: bool = False,
    ) -> Self:
        """An order with these fds, by their numbers there. Words may be paths, which are more than strings."""
        return cls(tuple(map(str, argv)), dict(environment), tuple(fds), memory, kept)


class Born(NamedTuple):
    """A process that has been started; whoever gets it closes the pidfd, and asks for its status once."""

    pid: int
    pidfd: int
