"""The moments at which a daemon can be made to die: before and after each thing that it does to the world.

None of this is in the product. A place is a function of it, found by its name and wrapped before the daemon begins;
one that was renamed is an error at once, one that nothing calls any more fails the test that strikes every point.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from qsup.guest import effects, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.board import Board


@dataclass(frozen=True)
class Place:
    """``where`` is ``module:function`` or ``module:Class.method``, as its callers look it up.

    Where one function does several things, ``kinds`` names them, and ``kind`` tells by the arguments which it is.
    """

    where: str
    kinds: tuple[str, ...] = ()
    kind: Callable[..., str] = lambda *_: ""


def _types(union: object) -> tuple[str, ...]:
    return tuple(one.__name__ for one in get_args(union))


PLACES: Final = {
    # One guest: an input comes, a step decides, and its effects are performed.
    "input": Place("qsup.guest.actor:Actor._take"),
    "effect.Persist": Place("qsup.guest.actor:Actor._persist"),
    "effect": Place(
        "qsup.guest.actor:Actor._handle", _types(effects.Deed), lambda _, deed, *__: type(deed).__name__
    ),
    "effect.word": Place(
        "qsup.guest.actor:Actor._say", ("Publish", "Reply"), lambda _, word, *__: type(word).__name__
    ),
    "effect.Arm": Place("qsup.guest.timers:Timers.arm"),
    "effect.Cancel": Place("qsup.guest.timers:Timers.cancel"),
    # A record is written.
    "record": Place(
        "qsup.guest.record:write", _types(record.Record), lambda _, written, *__: type(written).__name__
    ),
    "record.bytes": Place("qsup.atomic:_write_all"),
    "record.directory": Place("qsup.atomic:_sync_directory"),
    "record.set-aside": Place("qsup.guest.record:set_aside"),
    # A launch, from the checks to the handshake.
    "launch": Place("qsup.guest.hands:launch"),
    "launch.checks": Place("qsup.guest.launch:_checked"),
    "launch.machine": Place("qsup.guest.launch:_keep_machine"),
    "launch.files": Place("qsup.guest.launch:prepare"),
    "launch.file": Place("qsup.guest.prepare:_make"),
    "launch.file-named": Place("qsup.guest.prepare:_settle"),
    "launch.fds": Place("qsup.guest.launch:_open_fds"),
    "launch.lock": Place("qsup.proc.lock:acquire"),
    "launch.listener": Place("qsup.endpoint:listen"),
    "launch.helpers": Place("qsup.guest.helpers:Helpers.start"),
    "launch.helper": Place("qsup.guest.helpers:Helpers._spawn"),
    "launch.helper-answers": Place("qsup.proc.helper:HelperProcess.ready"),
    "launch.process": Place("qsup.proc.process:Process.spawn"),
    "launch.exec": Place("qsup.spawn.here:os.posix_spawn"),
    "launch.identity": Place("qsup.guest.launch:identified"),
    "launch.scope": Place("qsup.guest.hands:Hands._place"),
    "launch.console": Place("qsup.proc.console:Console.connect"),
    "launch.older": Place("qsup.guest.hands:forget_older"),
    "launch.session": Place("qsup.guest.line:Line.open"),
    "launch.commands": Place("qsup.guest.line:Line.prepare"),
    # A new daemon takes over.
    "restore": Place("qsup.guest.actor:Actor._restore"),
    "restore.adopt": Place("qsup.guest.hands:adopt"),
    "restore.search": Place("qsup.guest.adopt:_search"),
    "restore.found": Place("qsup.guest.adopt:_found"),
    "restore.reclaim": Place("qsup.guest.adopt:reclaim"),
    "restore.process": Place("qsup.proc.process:Process.adopt"),
    "restore.helpers": Place("qsup.guest.helpers:Helpers.adopt"),
    "restore.connect": Place("qsup.guest.hands:Hands.connect"),
    "restore.all": Place("qsup.supervisor:Supervisor._adopt_all"),
    "restore.starts": Place("qsup.fleet:Fleet._start_one"),
    # QEMU lives, and something is done to it.
    "helper.replace": Place("qsup.guest.helpers:Helpers.replace"),
    "session.command": Place("qsup.guest.line:Line._execute"),
    # The end of a process.
    "end": Place("qsup.guest.hands:Hands._watch"),
    "end.status": Place("qsup.proc.process:Process.wait"),
    "end.late-status": Place("qsup.proc.process:Process.late_status"),
    "end.session": Place("qsup.guest.line:Line.close"),
    "end.helpers": Place("qsup.guest.helpers:Helpers.end"),
    # The black box.
    "bundle": Place("qsup.guest.recorder:Recorder.keep"),
    "bundle.write": Place("qsup.blackbox.shelf:Shelf._write"),
    "bundle.files": Place("qsup.blackbox.shelf:_write_files"),
    "bundle.prune": Place("qsup.blackbox.shelf:Shelf._prune"),
    "bundle.tidy": Place("qsup.blackbox.shelf:Shelf._tidy"),
    # The history.
    "history.open": Place("qsup.history.store:Store._open"),
    "history.watch": Place("qsup.history.store:Store._begin_watch"),
    "history.row": Place("qsup.history.rows:encoded"),
    "history.commit": Place("qsup.history.store:Store.add"),
    "history.prune": Place("qsup.history.store:Store.prune"),
    "history.set-aside": Place("qsup.history.store:Store.set_aside"),
    # The configuration is read again.
    "reload": Place("qsup.supervisor:Supervisor.reload"),
    "reload.load": Place("qsup.supervisor:load"),
    "reload.redefine": Place("qsup.supervisor:Supervisor._redefine"),
    "reload.welcome": Place("qsup.supervisor:Supervisor._welcome"),
    "reload.forget": Place("qsup.supervisor:Supervisor._forget_if_gone"),
    "reload.discard": Place("qsup.guest.launch:discard"),
    # The daemon itself.
    "daemon.claim": Place("qsup.daemon:_claim"),
    "daemon.bind": Place("qsup.control.server:bind"),
    "daemon.old-socket": Place("qsup.endpoint:_remove_socket"),
    "daemon.listen": Place("qsup.control.server:ControlServer.start"),
    "daemon.ready": Place("qsup.daemon:Daemon._ready"),
    "daemon.close": Place("qsup.control.server:ControlServer.close"),
    "daemon.goodbye": Place("qsup.daemon:Daemon._say_goodbye"),
    "probe.ask": Place("qsup.probe.prober:find_out"),
    "probe.converse": Place("qsup.probe.ask:_questions"),
}
BEFORE: Final = "before"
AFTER: Final = "after"


def names_of(name: str, place: Place) -> list[str]:
    """What is told apart in a place."""
    stem = name.removesuffix(".word")
    return [f"{stem}.{kind}" for kind in place.kinds] or [name]


POINTS: Final = tuple(
    f"{one}:{side}"
    for name, place in PLACES.items()
    for one in names_of(name, place)
    for side in (BEFORE, AFTER)
)
"""Every point, ``launch.lock:after`` say; the board has a row for each."""


def install(board: Board) -> None:
    """Wrap every place in this process. Raises AttributeError if one is not there."""
    for name, place in PLACES.items():
        owner, attribute = found(place)
        raw = inspect.getattr_static(owner, attribute)
        function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        wrapped = _around(function, _strike(board, name, place))
        setattr(owner, attribute, type(raw)(wrapped) if function is not raw else wrapped)


def found(place: Place) -> tuple[Any, str]:
    """Where a place is: its module, or its class in that, and its name there."""
    module, _, path = place.where.partition(":")
    *classes, attribute = path.split(".")
    owner = functools.reduce(getattr, classes, importlib.import_module(module))
    getattr(owner, attribute)
    return owner, attribute


def _strike(board: Board, name: str, place: Place) -> Callable[[str, tuple[Any, ...]], None]:
    rows = {
        f"{one}:{side}": board.row(f"{one}:{side}")
        for one in names_of(name, place)
        for side in (BEFORE, AFTER)
    }
    stem = name.removesuffix(".word")

    def strike(side: str, arguments: tuple[Any, ...]) -> None:
        one = f"{stem}.{place.kind(*arguments)}" if place.kinds else name
        if board.passed(rows[f"{one}:{side}"]):
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def _around(function: Any, strike: Callable[[str, tuple[Any, ...]], None]) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def around_a_task(*arguments: Any, **named: Any) -> Any:
            strike(BEFORE, arguments)
            result = await function(*arguments, **named)
            strike(AFTER, arguments)
            return result

        return around_a_task

    @functools.wraps(function)
    def around(*arguments: Any, **named: Any) -> Any:
        strike(BEFORE, arguments)
        result = function(*arguments, **named)
        strike(AFTER, arguments)
        return result

    return around
