"""That nothing is left over: the second half of the invariants. What is transient has time to go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qsup import acl
from qsup.guest.grants import FILE
from tests.chaos import observe
from tests.chaos.account import View
from tests.chaos.stage import Stage, descendants

OF_A_QEMU = Counter(
    {
        "Hands._watch": 1,
        "QmpSession._watch": 1,
        "Queue.get": 1,
        "Event.wait": 1,
        "Line.serve": 1,
        "AsyncProtocol._bh_loop_forever": 2,
    }
)
"""The tasks that a process with its session has."""
OF_A_HELPER = Counter({"Helpers._watch": 1, "Process.wait": 1})
OF_A_CLIENT = Counter(
    {
        "Connection.run": 1,
        "Connection._serve": 1,
        "Connection._pass_events": 1,
        "Connection._until_gone": 1,
        "Connection._keep": 1,
    }
)
"""The tasks of a connection to the control socket."""
PASSING = frozenset({"Looker.look", "QMPClient.execute_msg"})
"""Tasks that come and go with each look at a guest's pulse."""
THREADS = 12
"""At most: the main one, two of the history, those of asyncio's pool, those that wait for a file system."""
GUEST_RUNTIME = re.compile(r"\.?(launch|granted)\.json(\.new|\.unreadable-\d+)?|[0-9a-f]{16}")
GUEST_STATE = re.compile(
    r"lock|tpm|serial-[a-z]+\.log(\.1)?|\.?(state|machine|granted)\.json(\.new|\.unreadable-\d+)?|\.[a-z.0-9]+\.unfinished"
)
STATE = re.compile(
    r"qsupd\.lock|guests|crashes|probe|ballast|history\.db(\.unreadable-\d+)?(-wal|-shm|-journal)?"
)
RUNTIME = re.compile(r"qsupd\.lock|guests|control\.sock|ballast")
KEPT_BUNDLES = 2
"""As ``stage.CONFIG`` has it."""


class Leaks:
    """Compares with the least that there was in some first looks, when all was new and nothing was done yet.

    What belongs to guests and clients is not counted.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._files: Counter[str] | None = None
        self._tasks: Counter[str] | None = None
        self.learning = True
        """Whether what there is now is right by itself."""

    async def found(self, views: Mapping[str, View], clients: int) -> list[str]:
        """All that should not be there, a sentence each."""
        report = await self._stage.life.report()
        return [
            *self._processes(views),
            *self._open(views, clients),
            *self._running(report, views, clients),
            *self._lying(views),
            *self._given(views),
        ]

    def _processes(self, views: Mapping[str, View]) -> Iterator[str]:
        parents = descendants(self._stage.nursery)
        starters = {self._stage.life.pid, self._stage.spawner}
        known = starters.copy()
        for view in views.values():
            known |= {view["pid"], *view["helpers"].values()}
        for pid in parents:
            above = pid
            while above in parents and above not in known:
                above = parents[above]
            # What daemon and spawner have started is known by itself; what others have started, by them.
            if above not in known or (above in starters and pid != above):
                yield f"process {pid} belongs to nobody: {observe.words(pid)}"

    def _open(self, views: Mapping[str, View], clients: int) -> Iterator[str]:
        files = observe.open_files(self._stage.life.pid)
        living = [view for view in views.values() if view["pid"]]
        for kind in [kind for kind in files if kind.endswith("serial-console.log")]:
            del files[kind]
        files["pidfd"] -= len(living) + sum(len(view["helpers"]) for view in living)
        files["socket"] -= clients + sum(1 + len(view["serials"]) for view in living)
        if self.learning:
            self._files = files if self._files is None else self._files & files
        yield from _more("open files", self._files, files)

    def _running(self, report: dict[str, Any], views: Mapping[str, View], clients: int) -> Iterator[str]:
        tasks = Counter({what: count for what, count in report["tasks"].items() if what not in PASSING})
        pulses = 0
        for view in views.values():
            if view["pid"]:
                pulses += 1
                tasks.subtract(OF_A_QEMU)
                for _ in view["helpers"]:
                    tasks.subtract(OF_A_HELPER)
        for _ in range(clients):
            tasks.subtract(OF_A_CLIENT)
        tasks["Actor.run"] -= len(views)
        tasks["Watching._pulse"] -= pulses
        if self.learning:
            self._tasks = +tasks if self._tasks is None else self._tasks & tasks
        yield from _more("tasks", self._tasks, tasks)
        if report["threads"] > THREADS:
            yield f"the daemon has {report['threads']} threads"

    def _lying(self, views: Mapping[str, View]) -> Iterator[str]:
        runtime, state = self._stage.runtime, self._stage.state
        yield from _strangers(runtime, RUNTIME)
        yield from _strangers(state, STATE)
        for directory in _inside(runtime / "guests"):
            if directory.name not in views:
                yield f"{directory} belongs to a guest that nobody knows"
            yield from _strangers(directory, GUEST_RUNTIME)
            runs = [entry.name for entry in _inside(directory) if entry.is_dir()]
            # That of a launch which a daemon has left half done stays until the next one.
            if len(runs) > 3:
                yield f"{directory} has the directories of {len(runs)} launches"
        for directory in _inside(state / "guests"):
            yield from _strangers(directory, GUEST_STATE)
        bundles = Counter(entry.name.rsplit("-", 2)[0] for entry in _inside(state / "crashes"))
        for begin, count in bundles.items():
            if begin.startswith(".") or count > KEPT_BUNDLES:
                yield f"{count} bundles begin with {begin!r}"

    def _given(self, views: Mapping[str, View]) -> Iterator[str]:
        """Access to files that no QEMU of the user's needs any more."""
        confined = [name for name, guest in self._stage.guests.items() if guest.user is not None]
        living = [name for name in confined if views[name]["pid"] or views[name]["phase"] == "starting"]
        for name in confined:
            for place in (self._stage.state, self._stage.runtime):
                if name not in living and (place / "guests" / name / FILE).exists():
                    yield f"{name} has a record of what its QEMU's user was given in {place}"
        for file in self._stage.places["disks"].iterdir():
            named = [entry for entry in acl.read(str(file)) if entry.tag == acl.USER]
            if named and file.stem not in living:
                yield f"{file} is open to {named}"


def _more(what: str, before: Counter[str] | None, now: Counter[str]) -> Iterator[str]:
    if more := now - (before or Counter()):
        yield f"the daemon has more {what} than there should be: {dict(more)}"


def _inside(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def _strangers(directory: Path, known: re.Pattern[str]) -> Iterator[str]:
    for entry in _inside(directory):
        if not known.fullmatch(entry.name):
            yield f"{entry} should not be there"
