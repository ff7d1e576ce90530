"""What a guest prints on a serial port: whether a certain text has come, and whether anything comes at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsup.checks.text import Finder
from qsup.checks.verdict import Failed, Passed, Unable

if TYPE_CHECKING:
    from qsup.checks.verdict import Verdict
    from qsup.proc.console import Console

PAST: Final = 1 << 20
"""Bytes of what the run has printed so far that are searched for the text."""


async def printed(console: Console, text: str) -> Passed:
    """Wait until the guest has printed a text in the present run; what it has printed already counts."""
    found = asyncio.Event()
    finder = Finder(text)

    def hear(data: bytes) -> None:
        if finder.feed(data):
            found.set()

    with console.listening(hear):
        hear(console.printed(PAST))
        await found.wait()
    return Passed(f'{console.name} has printed "{text}"')


async def beats(console: Console, interval: float, deadline: float) -> Verdict:
    """Whether the guest has printed something within the last ``interval`` seconds, or does so by the deadline.

    The caller sees to it that the guest has run so long without a break.
    """
    if not console.connected:
        return Unable(f"{console.name} is not connected")
    loop = asyncio.get_running_loop()
    began = loop.time()
    if console.last_output is not None and began - console.last_output <= interval:
        return Passed(f"{console.name} printed something {began - console.last_output:.1f} s ago")
    printed = asyncio.Event()
    try:
        with console.listening(lambda _: printed.set()):
            async with asyncio.timeout(deadline):
                await printed.wait()
    except TimeoutError:
        return Failed(f"{console.name} has been silent for {_silence(console, began, interval):.0f} s")
    return Passed(f"{console.name} prints")


def _silence(console: Console, began: float, interval: float) -> float:
    """Seconds without output, at least."""
    since = console.last_output if console.last_output is not None else began - interval
    return asyncio.get_running_loop().time() - since
