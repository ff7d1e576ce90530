"""The last that was heard of one guest: QMP messages both ways, events, samples; bounded, and cheap to keep up.

A message costs a few microseconds and leaves its bytes behind, no parsed objects. What repeats itself (a question
that is asked every second, an event without end) is one entry with a count, so that it pushes out nothing else.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import clock
from qsup.blackbox import redact
from qsup.events import Event
from qsup.spec.secrets import REMOVED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MESSAGES: Final = 200
MESSAGES_SIZE: Final = 64 << 10
"""Bytes of all messages that are kept of one guest."""
TEXT: Final = 2 << 10
"""Bytes of one message that are kept, from its beginning."""
EVENTS: Final = 100
SAMPLES: Final = 60
WINDOW: Final = 8
"""A message that was among so many before it is counted instead of kept again: loops are of several messages."""
UNANSWERED: Final = 32
"""Commands whose answers are waited for; QEMU itself queues no more than eight."""

_QUESTIONS: Final = ("query-", "qom-get", "qom-list")
"""Commands that change nothing begin so: of each the last answer is kept, however often it is asked."""
_EVENT: Final = b'{"timestamp"'
_ID_FIRST: Final = re.compile(rb'\{"id": ?"([^"]{1,64})"')
_ID_SIGHT: Final = 96
"""Bytes at the end of a message in which its id is looked for."""
_SECRET_ANSWER: Final = b'{"return": "%s"}' % REMOVED.encode()


class Message(msgspec.Struct, gc=False):
    """A QMP message and its repetitions. Times are wall time in seconds."""

    way: str
    """``out``, to QEMU, or ``in``."""
    first: float
    text: bytes
    """As it was on the wire the last time, without its secrets, cut to ``TEXT`` bytes."""
    length: int
    """Bytes of the whole message."""
    last: float = 0.0
    times: int = 1
    key: int = 0
    """What it has in common with its repetitions, as a hash."""
    serial: int = 0
    turn: int = 0


class Messages:
    """The last messages of a QMP session, as its :class:`qsup.qmp.client.Observer`; it may see several sessions."""

    def __init__(self, now: Callable[[], float] = clock.wall) -> None:
        self._now = now
        self._kept: OrderedDict[int, Message] = OrderedDict()
        self._latest: dict[int, Message] = {}
        self._size = 0
        self._serial = 0
        self._turn = 0
        self._asked: OrderedDict[bytes, tuple[int | None, bool]] = OrderedDict()
        """Of each command without an answer yet: its key if it is a question, and whether its answer is secret."""

    def sent(self, message: Mapping[str, Any], data: bytes) -> None:
        """A command goes out; ``data`` is what it is on the wire."""
        command = str(message.get("execute") or message.get("exec-oob"))
        given = message.get("arguments") or {}
        text = data
        if command in redact.TYPED:
            text = msgspec.json.encode({**message, "arguments": redact.arguments(command, given)})
        id_, rest = _without_id(text)
        key = hash((b"out", rest))
        question = command.startswith(_QUESTIONS)
        secret = command == "qom-get" and redact.is_secret_property(given)
        self._asked[id_] = (key if question else None, secret)
        if len(self._asked) > UNANSWERED:
            self._asked.popitem(last=False)
        self._keep(key, "out", text, len(data), question=question)

    def received(self, line: bytes) -> None:
        """QEMU has said a line."""
        if line.startswith(_EVENT):
            # The time is left out of the key: an event that comes again is the same event.
            self._keep(hash(line[line.find(b"}") : TEXT]), "in", line, len(line))
            return
        id_, rest = _without_id(line)
        question, secret = self._asked.pop(id_, (None, False))
        text = _SECRET_ANSWER if secret else line
        key = hash(rest) if question is None else hash((b"answer", question))
        self._keep(key, "in", text, len(line), question=question is not None)

    def _keep(self, key: int, way: str, text: bytes, length: int, *, question: bool = False) -> None:
        text = redact.message(text[:TEXT].rstrip())
        now = self._now()
        entry = self._latest.get(key)
        if entry is not None and (question or self._turn - entry.turn < WINDOW):
            self._size -= len(entry.text)
            entry.text, entry.length = text, length
            entry.times += 1
            self._kept.move_to_end(entry.serial)
        else:
            self._serial += 1
            entry = Message(way, now, text, length, key=key, serial=self._serial)
            self._kept[self._serial] = self._latest[key] = entry
        self._turn += not question
        entry.last, entry.turn = now, self._turn
        self._size += len(text)
        while len(self._kept) > MESSAGES or self._size > MESSAGES_SIZE:
            self._drop()

    def _drop(self) -> None:
        _, oldest = self._kept.popitem(last=False)
        self._size -= len(oldest.text)
        if self._latest.get(oldest.key) is oldest:
            del self._latest[oldest.key]

    def remembered(self) -> tuple[Message, ...]:
        """Copies of what is kept, the one heard last at the end."""
        return tuple(msgspec.structs.replace(message) for message in self._kept.values())

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._latest.clear()
        self._asked.clear()
        self._size = 0


def _without_id(line: bytes) -> tuple[bytes, bytes]:
    """The id of a message and what is beside it, by which repetitions are told. QEMU's refusals begin with it."""
    at = line.rfind(b'"id"', -_ID_SIGHT)
    if at >= 0:
        return line[at + 4 :].strip(b' :"}\r\n'), line[: min(at, TEXT)]
    first = _ID_FIRST.match(line)
    return (first[1], line[first.end() : TEXT]) if first else (b"", line[:TEXT])


class Sample(msgspec.Struct, frozen=True):
    """What was measured of a guest; ``at`` is wall time in seconds, ``values`` whatever JSON can hold."""

    at: float
    values: Any


class Remembered(msgspec.Struct, frozen=True):
    """What was remembered of a guest at one moment, the oldest first."""

    messages: tuple[Message, ...] = ()
    events: tuple[Event, ...] = ()
    samples: tuple[Sample, ...] = ()


class Rings:
    """The memory of one guest. An actor feeds it: ``messages`` is the observer of its QMP sessions."""

    def __init__(self) -> None:
        self.messages = Messages()
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    def happened(self, event: Event) -> None:
        """An event about this guest was published."""
        self._events.append(event)

    def sampled(self, at: float, values: Any) -> None:
        """Something was measured; ``values`` must not be changed afterwards."""
        self._samples.append(Sample(at, values))

    def renew(self) -> None:
        """Another process begins: what the last one said and was measured at is no longer of interest."""
        self.messages.clear()
        self._samples.clear()

    def remembered(self) -> Remembered:
        """All of it, as it is now."""
        return Remembered(self.messages.remembered(), tuple(self._events), tuple(self._samples))
