"""All that a deed needs: the stage, what is known of each guest, and a journal of what was done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from qemu.qmp import ExecuteError, QMPClient

from qsup import endpoint
from tests.chaos import observe
from tests.chaos.account import Account, Verdict
from tests.chaos.stage import Stage, descendants


def _nothing(_: object) -> bool:
    """No event is of interest."""
    return False


class World:
    """A stage in the course of a storm."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.accounts = {name: Account(guest) for name, guest in stage.guests.items()}
        self.journal: list[str] = []
        self.counts: Counter[str] = Counter()
        """How often what was done."""
        self.unwatched = False
        """Whether there was no daemon for some of this step."""
        self.full: set[str] = set()
        """What has had no room in this step."""
        self.trouble: list[str] = []
        """What a deed has found wrong."""
        self._dying = asyncio.Lock()

    def begin(self) -> None:
        """A step begins."""
        self.unwatched = False
        self.full = set()
        for account in self.accounts.values():
            account.begin()

    def note(self, line: str, count: str = "") -> None:
        """Write down what was done."""
        self.journal.append(line)
        if count:
            self.counts[count] += 1

    def nothing_starts(self) -> None:
        """What starts all processes may be gone in this step; whatever is just to be started fails."""
        if self.stage.spawner_socket is not None:
            for account in self.accounts.values():
                account.may += (Verdict("start-failed"), Verdict("helper-died"))

    # Guests

    def qemu(self, name: str) -> int | None:
        """The pid of a guest's QEMU, if it has one."""
        found = observe.qemus(descendants(self.stage.nursery), self.stage.state).get(name)
        return found[0] if found else None

    async def strike(self, pid: int, number: signal.Signals, *, wait: float) -> bool:
        """Send a signal to a process; wait so long for its end, and say whether it has ended."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            signal.pidfd_send_signal(pidfd, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await ended.wait()
            return ended.is_set()
        except ProcessLookupError:
            return False
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    async def type(self, name: str, keys: str) -> bool:
        """Type into a guest's console: through the daemon, or past it while there is none."""
        try:
            if self.stage.life.ended:
                return await self._type_unseen(name, keys)
            reader, writer = await asyncio.open_unix_connection(
                self.stage.runtime / "control.sock", limit=1 << 20
            )
            attach = {"execute": "guest-console", "arguments": {"name": name}}
            writer.write(b'{"execute": "qmp_capabilities"}\n' + json.dumps(attach).encode() + b"\n")
            # Events come as well, until the line is the console's.
            while b'"read-only"' not in (answer := await reader.readline()) and answer:
                if b'"error"' in answer:
                    break
            writer.write(keys.encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return b'"return"' in answer
        except OSError:
            return False

    async def _type_unseen(self, name: str, keys: str) -> bool:
        runs = [entry for entry in self.stage.runtime.glob(f"guests/{name}/*") if entry.is_dir()]
        for run_dir in sorted(runs, key=lambda entry: entry.stat().st_mtime)[-1:]:
            with contextlib.suppress(Exception):
                with await endpoint.connect(run_dir, "serial-console.sock") as serial:
                    serial.send(keys.encode())
                return True
        return False

    # Operators

    async def ask(self, command: str, **arguments: Any) -> tuple[bool | None, Any]:
        """A command on a connection of its own: whether it was accepted (None: nobody knows), and the answer."""
        client = QMPClient("operator")
        client.events.event_filter = _nothing
        try:
            await client.connect(str(self.stage.runtime / "control.sock"))
        except Exception:
            return (None if self.stage.life.ended else self._unheard(command)), None
        try:
            async with asyncio.timeout(90):
                return True, await client.execute(
                    command, {k.replace("_", "-"): v for k, v in arguments.items()}
                )
        except ExecuteError as error:
            return False, error
        except TimeoutError:
            self.trouble.append(f"{command} {arguments} was not answered within 90 s")
            return None, None
        except Exception as error:
            return None, error
        finally:
            with contextlib.suppress(Exception):
                await client.disconnect()

    def _unheard(self, command: str) -> bool | None:
        """Nobody took the connection: the daemon is on its way in or out, or has too many clients already."""
        self.note(f"nobody took {command}")
        return False

    # The daemon

    async def begin_daemon(self) -> None:
        """Have a daemon again; one that dies at a point is followed by the next."""
        self.unwatched = True
        for _ in range(5):
            if await self.stage.begin():
                return
            if self.stage.life.status.result() != -signal.SIGKILL:
                log = "".join(self.stage.life.log[-10:])
                raise AssertionError(f"the daemon left with status {self.stage.life.status.result()}:\n{log}")
        raise AssertionError("five daemons have died before they were ready")

    @contextlib.asynccontextmanager
    async def without_daemon(self, *, politely: bool) -> Any:
        """Kill it, or have it leave; afterwards the next one comes."""
        async with self._dying:
            if not self.stage.life.ended:
                status = await self.stage.leave() if politely else await self.stage.kill()
                if politely and status not in (0, -signal.SIGKILL):
                    self.trouble.append(f"the daemon, told to leave, ended with status {status}")
            self.unwatched = True
            yield
            await self.begin_daemon()

    def guests(self, **traits: Any) -> Iterator[str]:
        """The names of those whose file says so."""
        for name, account in self.accounts.items():
            if all(bool(getattr(account.guest, trait)) == value for trait, value in traits.items()):
                yield name

    def some_guest(self, chance: Random, **traits: Any) -> str:
        """One of them."""
        return chance.choice(sorted(self.guests(**traits)))
