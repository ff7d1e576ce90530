"""``qsupd``: the composition root. It reads the arguments, wires the parts together and listens to signals."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup import __version__, clock, paths, rights
from qsup.access.access import Access
from qsup.alerts.alerts import Alerts
from qsup.bus import Bus
from qsup.control.server import ControlServer
from qsup.errors import QsupError, UsageError
from qsup.events import Kind
from qsup.fdstore import FdStore, inherited
from qsup.handed import take
from qsup.histogram import Histogram
from qsup.history.history import History
from qsup.journal.entry import entry
from qsup.journal.log import FIELDS, log_to_where_stderr_leads
from qsup.journal.voices import Voices
from qsup.loop import timed_loop
from qsup.metrics.metrics import Metrics
from qsup.notify import Notifier, watchdog_interval
from qsup.power import Power
from qsup.proc.bounded import Keeper
from qsup.spec.load import DAEMON_FILE
from qsup.supervisor import Supervisor
from qsup.watch import ConfigWatch

if TYPE_CHECKING:
    from qsup.events import Event
    from qsup.journal.native import Journal
    from qsup.paths import Paths
    from qsup.spec.tables.keeping import History as Keeping

log = logging.getLogger("qsupd")

CONTROL: Final = "control"
"""``FileDescriptorName=`` in the control socket's unit."""
LEAVE: Final = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Run the daemon until a signal ends it; return the exit status."""
    journal = log_to_where_stderr_leads()
    status = 0
    rights.keep_inherited()
    try:
        given = command_line().parse_args(sys.argv[1:])
        where = _paths(given)
        if given.install or given.uninstall:
            from qsup import install

            return install.install(where.config) if given.install else install.uninstall()
        with contextlib.ExitStack() as stack:
            _claim(where, stack)
            lag = Histogram()
            with asyncio.Runner(loop_factory=partial(timed_loop, lag)) as runner:
                runner.run(Daemon(where, journal, lag).run())
    except* QsupError as failures:
        # What fails in the daemon's task group comes as a group, all else alone.
        for error in failures.exceptions:
            log.error("%s", error)
            status = error.exit_code if isinstance(error, QsupError) else 1
    finally:
        if journal is not None:
            journal.close()
    return status


def command_line() -> argparse.ArgumentParser:
    """The options, as argparse knows them; the manual is made of it."""
    parser = argparse.ArgumentParser(
        prog="qsupd", description="Supervise QEMU guests. Guests go on running when this daemon leaves."
    )
    parser.add_argument(
        "--config", type=Path, metavar="DIR", help="where qsup.toml, guests/ and profiles/ are"
    )
    parser.add_argument("--runtime-dir", type=Path, metavar="DIR", help="where sockets and launch records go")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="what must survive a reboot")
    installing = parser.add_mutually_exclusive_group()
    installing.add_argument(
        "--install",
        action="store_true",
        help="have this host's systemd know the daemon: write units and the like below /usr/local/lib,"
        " and profiles into the configuration; for what pip or pipx has installed",
    )
    installing.add_argument(
        "--uninstall",
        action="store_true",
        help="take away again what --install has written below /usr/local/lib",
    )
    parser.add_argument("--version", action="version", version=f"qsupd {__version__}")
    return parser


def _paths(given: argparse.Namespace) -> Paths:
    """The directories that are named, and for the others the usual ones."""
    if given.config and given.runtime_dir and given.state_dir:
        chosen = (given.config, given.runtime_dir, given.state_dir)
    else:
        default = paths.default_paths()
        chosen = (
            given.config or default.config,
            given.runtime_dir or default.runtime,
            given.state_dir or default.state,
        )
    return paths.Paths(*(path.absolute() for path in chosen))


def _claim(where: Paths, stack: contextlib.ExitStack) -> None:
    """Make the directories and lock them: two daemons on one of them would fight over the same guests."""
    os.umask(0o077)
    for directory in (where.runtime, where.state):
        lock_file = directory / "qsupd.lock"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise QsupError(f"cannot use {directory}: {error.strerror}") from error
        stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another qsupd works in {directory}; it holds {lock_file}") from None


class Daemon:
    """All the parts of one running daemon."""

    def __init__(self, where: Paths, journal: Journal | None, lag: Histogram) -> None:
        self._paths = where
        self._journal = journal
        self._bus = Bus()
        self._notifier = Notifier.from_environment()
        self._changes = ConfigWatch(where.config)
        found = inherited()
        handed = take(found, CONTROL)
        keeper, store = Keeper(Voices(journal) if journal else None), FdStore(self._notifier, found)
        self._supervisor = Supervisor(where, self._bus, keeper, store)
        self._alerts = Alerts(self._bus)
        self._metrics = Metrics(self._supervisor, lag)
        self._power = Power(self._supervisor, where.resting)
        self._history = History(where.history, clock.boot_id(), self._keeping, self._survey)
        self._access = Access(str(where.config / DAEMON_FILE))
        self._server = ControlServer(
            where.control_socket, self._supervisor, self._alerts, self._history, self._access, handed=handed
        )
        self._leave = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._listen_to_signals()
        if self._journal is not None:
            self._journal.attach(asyncio.get_running_loop())
        async with asyncio.TaskGroup() as tasks:
            self._alerts.apply(self._supervisor.configuration().daemon)
            self._metrics.apply(self._supervisor.configuration().daemon.metrics)
            self._bus.hooks.extend(
                (self._history.hear, self._tell, self._alerts.hear, self._metrics.hear, self._power.hear)
            )
            history = tasks.create_task(self._history.run())
            self._report_problems()
            services = [tasks.create_task(self._supervisor.run())]
            await self._supervisor.adopted.wait()
            self._survey()
            await self._decide_who_may()
            await self._server.start()
            services.append(tasks.create_task(self._reload_on_signal()))
            services.append(tasks.create_task(self._reload_on_change()))
            services.append(tasks.create_task(self._feed_watchdog()))
            services.append(tasks.create_task(self._metrics.run()))
            services.append(tasks.create_task(self._power.run()))
            self._ready()
            await self._leave.wait()
            self._notifier.stopping("leaving; guests go on running")
            await self._server.close()
            await self._alerts.close()
            self._say_goodbye()
            for service in services:
                service.cancel()
            # What they still say on their way out is kept as well.
            await asyncio.wait(services)
            history.cancel()
        self._notifier.close()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in LEAVE:
            loop.add_signal_handler(number, self._leave.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

    def _ready(self) -> None:
        summary = self._summary()
        self._notifier.ready(summary)
        log.info("qsupd %s is ready: %s; control socket %s", __version__, summary, self._server.path)

    def _summary(self) -> str:
        """The guests in one line."""
        names, living = self._supervisor.names(), self._supervisor.living()
        return f"{len(names)} guest{'s' * (len(names) != 1)}, {len(living)} running"

    def _say_goodbye(self) -> None:
        alive = [f"{name} (pid {pid})" for name, pid in self._supervisor.living().items() if pid]
        if alive:
            log.info("leaving; these guests go on running: %s", ", ".join(alive))
            log.info("the next qsupd adopts them; `qsup stop --all` before it would have stopped them")
        else:
            log.info("leaving; no guest runs")

    def _report_problems(self) -> None:
        if not self._paths.config.is_dir():
            log.warning("there is no directory %s; make it, then `qsup reload`", self._paths.config)
        for problem in self._supervisor.configuration().problems:
            log.warning("%s", problem)

    async def _decide_who_may(self) -> None:
        """Take the rules on access from the file, now and whenever it is read again."""
        configuration = self._supervisor.configuration()
        # What a file grants that cannot be read may well be less than what there is without one.
        await self._access.apply(None if configuration.daemon_broken else configuration.daemon.access)
        self._supervisor.before_reload.append(lambda daemon: self._access.apply(daemon.access))

    def _tell(self, event: Event) -> None:
        """Write what is announced to the log; keep the line that systemctl shows, and the alerts, up to date."""
        told = entry(event)
        log.log(told.level, "%s", told.line, extra={FIELDS: told.fields})
        if event.kind is Kind.PHASE:
            self._notifier.status(self._summary())
        elif event.kind is Kind.RELOADED:
            self._alerts.apply(self._supervisor.configuration().daemon)
            self._metrics.apply(self._supervisor.configuration().daemon.metrics)

    def _survey(self) -> None:
        """Have it kept how all guests stand: one that just goes on running says nothing of itself."""
        if not self._supervisor.adopted.is_set():
            return  # Nobody knows yet.
        for view in map(self._supervisor.view, self._supervisor.names()):
            self._history.found(
                view.name,
                phase=view.phase.value,
                ready=view.ready,
                wanted=view.wanted.value,
                adopted=view.adopted,
                pid=view.pid,
            )

    def _keeping(self) -> Keeping | None:
        """What is to be kept of the history; a mistake in qsup.toml must not throw away what it meant to keep."""
        configuration = self._supervisor.configuration()
        return configuration.daemon.history if configuration.usable else None

    async def _reload_on_signal(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            await self._supervisor.reload()
            self._ready()

    async def _reload_on_change(self) -> None:
        if self._supervisor.configuration().daemon.watch:
            async for _ in self._changes:
                await self._supervisor.reload()

    async def _feed_watchdog(self) -> None:
        """Show systemd that the event loop turns."""
        interval = watchdog_interval()
        while interval is not None:
            self._notifier.watchdog()
            await asyncio.sleep(interval)


if __name__ == "__main__":
    sys.exit(main())
