"""A process that writes a history, until it is killed or, with an obstacle, until all is written in spite of it.

``history_child FILE`` prints the number of each event once that has been committed. ``history_child FILE limit`` lets
no file of the process grow; ``history_child FILE full`` fills the file system. Both say what is wrong then, and at a
line on standard input clear the obstacle away, and count what is kept.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from qsup.history import writer
from qsup.history.kept import Asked, Moment, Watch
from qsup.history.reading import read
from qsup.history.rows import Row
from qsup.history.store import Store
from qsup.spec.tables.keeping import History as Keeping
from qsup.units import Duration

WALL = 1_700_000_000.0
EVENTS = 400
LIMIT = 64 * 1024
"""Bytes."""


def main() -> None:
    path, obstacle = Path(sys.argv[1]), sys.argv[2:]
    start = Moment(WALL, 0.0)
    store = Store(path, Watch(boot="b", version="0.1.0", pid=1, began=start, seen=start))
    writer.RETRY = 0.01  # type: ignore[misc]  # for a test only
    keeping = Keeping(keep=Duration.parse("36500 d"))
    desk = writer.Writer(store, lambda: keeping, lambda: None)
    thread = threading.Thread(target=desk.run)
    thread.start()
    if obstacle:
        obstructed(desk, limited() if obstacle == ["limit"] else filled(path.with_name("ballast")))
        kept = read(path, "web1", Asked("b", start, 1), None, 10_000).events
        print(f"{len(kept)} events are kept", flush=True)
        desk.leave()
        thread.join()
        return
    number = 0
    while True:
        number += 1
        offer(desk, number)
        desk.flush().result()
        print(number, flush=True)


def obstructed(desk: writer.Writer, obstacle: contextlib.AbstractContextManager[None]) -> None:
    desk.flush().result()
    with obstacle:
        for number in range(EVENTS):
            offer(desk, number)
        while (trouble := desk.trouble) is None:
            pass
        print(trouble, flush=True)
        sys.stdin.readline()
    desk.flush().result()


@contextlib.contextmanager
def limited() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def filled(ballast: Path) -> Iterator[None]:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    ballast.unlink()


def offer(desk: writer.Writer, number: int) -> None:
    desk.offer(Row(WALL + number, float(number), number, "web1", "GUEST_NOTICE", {"message": "x" * 500}))


if __name__ == "__main__":
    main()
