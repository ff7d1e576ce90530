"""A picture of a guest's screen, made by a QEMU that need not be trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import MADE
from qsup.errors import QmpError

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.argv.facts import HostFacts
    from qsup.qmp.session import QmpSession

DEADLINE: Final = 2.0
"""Seconds that QEMU has."""
LIMIT: Final = 32 << 20
"""Bytes of a picture; one of 3840 by 2160 points with noise on it has 25 MB."""
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


async def screenshot(session: QmpSession, run_dir: Path, facts: HostFacts | None = None) -> bytes | None:
    """The guest's first screen as PNG; None if it has none, or QEMU cannot or does not answer.

    QEMU writes the picture where it may write in ``run_dir``; it is removed again, whatever has come of it. What a
    binary cannot do by its ``facts`` it is not asked for; without them it is QEMU that refuses.
    """
    if facts is not None and not facts.has_member("ImageFormat", "png"):
        return None
    path = run_dir / MADE / f"screen-{secrets.token_hex(8)}.png"
    try:
        await session.execute("screendump", {"filename": str(path), "format": "png"}, deadline=DEADLINE)
        return await asyncio.to_thread(_picture, path)
    except QmpError:
        return None
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _picture(path: Path) -> bytes | None:
    """What was written, if it is a picture: whoever has taken over QEMU may have put anything in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return None
        data = file.read(LIMIT + 1)
    return data if data.startswith(_SIGNATURE) and len(data) <= LIMIT else None
