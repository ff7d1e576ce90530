"""What QEMUs and their helpers write on stderr, in the journal under the guest's own name.

It may be the words of a guest that has taken its QEMU over: few enough, short, and without anything that a terminal
would act on. The journal counts what this daemon sends, and drops it beyond a limit of its own; so all guests together
may take only a part of that, and no guest much.
"""

from __future__ import annotations

import contextlib
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qsup import clock
from qsup.bucket import Bucket
from qsup.journal.entry import GUEST
from qsup.spec.problem import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qsup.journal.native import Journal
    from qsup.proc.follow import Speaker

RATE: Final = 5.0
"""Lines a second of one process, in the long run."""
BURST: Final = 200.0
RATE_OF_ALL: Final = 100.0
"""A third of what journald lets a service say by default (``RateLimitBurst=`` of journald.conf(5))."""
BURST_OF_ALL: Final = 1000.0
LAST_WORDS: Final = 10
"""Lines that a process may say in any case before it ends: why it did may be in them."""
_TIMESTAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]{8,20}Z) ", re.ASCII)
"""As ``-msg timestamp=on`` has QEMU begin its lines."""
_QEMU: Final = re.compile(r"qemu[\w.+-]*: (warning: |info: )?", re.ASCII)
_PRIORITIES: Final = {"warning: ": "4", "info: ": "6", None: "3"}
"""By how ``error_report``, ``warn_report`` and ``info_report`` of QEMU begin their lines."""
NOTICE: Final = "5"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Voices:
    """Passes on what is heard; a :class:`qsup.proc.follow.Hearer`."""

    def __init__(self, journal: Journal, now: Callable[[], float] = clock.now) -> None:
        self._journal = journal
        self._now = now
        self._all = Bucket(RATE_OF_ALL, BURST_OF_ALL)
        self._voices: dict[Speaker, _Voice] = {}

    def listens(self, speaker: Speaker) -> bool:
        """Whether a line would be passed on."""
        now = self._now()
        return self._voice(speaker).bucket.holds(now) and self._all.holds(now)

    def hear(self, speaker: Speaker, lines: list[bytes]) -> None:
        """Pass lines on; of those that are too many, keep the last in mind."""
        voice = self._voice(speaker)
        for number, line in enumerate(lines):
            if not self.listens(speaker):
                voice.keep(lines[number:])
                return
            now = self._now()
            voice.bucket.spend(now)
            self._all.spend(now)
            self._confess(speaker, voice)
            self._say(speaker, line)

    def miss(self, speaker: Speaker, count: int) -> None:
        """Remember that bytes were left out."""
        self._voice(speaker).miss(count)

    def end(self, speaker: Speaker) -> None:
        """Pass on the last words."""
        voice = self._voices.pop(speaker, None)
        if voice is not None:
            last, voice.last = voice.last, []
            self._confess(speaker, voice)
            for line in last:
                self._say(speaker, line)

    def _voice(self, speaker: Speaker) -> _Voice:
        return self._voices.setdefault(speaker, _Voice())

    def _confess(self, speaker: Speaker, voice: _Voice) -> None:
        """Tell what was left out until now."""
        if left_out := voice.forget():
            self._send(speaker, f"{left_out}; `qsup log --stderr {speaker.guest}` has the last of it", "4")

    def _say(self, speaker: Speaker, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        more = {"QSUP_HELPER": speaker.helper} if speaker.helper else {}
        if at := _TIMESTAMP.match(text):
            text = text[at.end() :]
            more["SYSLOG_TIMESTAMP"] = at[1]
        found = None if speaker.helper else _QEMU.match(text)
        self._send(speaker, printable(text), _PRIORITIES[found[1]] if found else NOTICE, more)

    def _send(self, speaker: Speaker, text: str, priority: str, more: Mapping[str, str] = NOTHING) -> None:
        # It is in the file as well, and nobody waits for it.
        with contextlib.suppress(OSError):
            self._journal.send(
                {
                    "MESSAGE": text,
                    "PRIORITY": priority,
                    "SYSLOG_IDENTIFIER": f"qsup-{speaker.guest}",
                    "OBJECT_PID": str(speaker.pid),
                    GUEST: speaker.guest,
                    **more,
                }
            )


class _Voice:
    """What is known of one speaker: how much it may say, and what was left out."""

    def __init__(self) -> None:
        self.bucket = Bucket(RATE, BURST)
        self.last: list[bytes] = []
        """The last lines, which were too many, but are not left out yet."""
        self._lines = 0
        self._bytes = 0

    def keep(self, lines: list[bytes]) -> None:
        """Lines that are too many, unless they prove to be the last."""
        self._lines += max(0, len(self.last) + len(lines) - LAST_WORDS)
        self.last = [*self.last, *lines][-LAST_WORDS:]

    def miss(self, count: int) -> None:
        """Bytes that nobody has read; the lines before are not the last ones either."""
        self._lines += len(self.last)
        self.last = []
        self._bytes += count

    def forget(self) -> str:
        """What was left out, as words; nothing is from now on."""
        lines = self._lines + len(self.last)
        parts = [f"{lines} lines"] if lines else []
        parts += [f"{self._bytes} bytes"] if self._bytes else []
        self.last, self._lines, self._bytes = [], 0, 0
        return f"left out, as they were too many: {' and '.join(parts)}" if parts else ""
