"""Helpers as processes: real ones, that answer, fail, hang and are found again; no QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from qsup import endpoint
from qsup.argv.helper import HELPER_FD, Helper
from qsup.errors import LaunchError
from qsup.guest.helpers import reclaim
from qsup.guest.record import HelperRecord
from qsup.proc import helper as module
from qsup.proc.helper import HelperProcess, connected, end
from qsup.proc.identity import find_helpers, helper_name
from qsup.status import ExitStatus

TOKEN = "00112233445566ff"

ANSWERS_IN_PIECES = f"""
import socket, time
end, _ = socket.socket(fileno={HELPER_FD}).accept()
assert end.recv(64) == b"ready?"
end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
for piece in (b"y", b"e", b"s"):
    end.sendall(piece)
    time.sleep(0.01)
end.sendall(end.recv(64))
"""
FAILS = "import sys; sys.exit('no room for my state')"
SLEEPS = "import signal; print('asleep', flush=True); signal.pause()"
IGNORES = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    made = tmp_path / "web1" / TOKEN
    made.mkdir(parents=True)
    return made


def helper(script: str) -> Helper:
    return Helper("tpm", (sys.executable, "-c", script), 7, b"ready?", 3)


@contextlib.asynccontextmanager
async def running(script: str, run_dir: Path) -> AsyncIterator[tuple[HelperProcess, socket.socket]]:
    """A helper that runs a script, and the end of its socket that a QEMU would get."""
    with endpoint.listen(run_dir, "tpm.sock") as listener, await connected(run_dir, "tpm.sock") as ours:
        one = HelperProcess.spawn(helper(script), run_dir, TOKEN, listener)
        listener.close()
        try:
            yield one, ours
        finally:
            await end([one])


async def says(one: HelperProcess, text: str) -> None:
    """Wait until it has written this, or has ended; its log is a file, whose growth no event announces."""
    while text not in one.words() and not one.ended:
        await asyncio.sleep(0.01)


async def test_it_is_ready_when_it_has_answered_to_the_last_byte(run_dir: Path) -> None:
    """What is left of an answer would be read by QEMU, as an answer to its own first question."""
    async with running(ANSWERS_IN_PIECES, run_dir) as (one, ours):
        await one.ready(ours)
        assert ours.getblocking(), "QEMU gets it as it would make it itself"
        ours.sendall(b"and now QEMU")
        assert ours.recv(64) == b"and now QEMU"


async def test_one_that_ends_before_it_answers_says_why(run_dir: Path) -> None:
    async with running(FAILS, run_dir) as (one, ours):
        with pytest.raises(LaunchError, match=r"ended before it was ready \(exit 1\); it said: no room"):
            await one.ready(ours)


async def test_one_that_never_answers_is_not_waited_for_without_end(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY", 0.3)
    async with running(SLEEPS, run_dir) as (one, ours):
        await says(one, "asleep")
        with pytest.raises(LaunchError, match=r"did not answer within 0\.3 s"):
            await one.ready(ours)


async def test_one_that_is_deaf_to_sigterm_is_killed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    async with running(IGNORES, run_dir) as (one, _):
        await says(one, "deaf")
        ended = one.wait()
        await end([one])
        assert await ended == ExitStatus("signal", signal.SIGKILL)


async def test_it_is_found_by_its_mark_and_no_other_process_is_taken_for_it(run_dir: Path) -> None:
    async with running(SLEEPS, run_dir) as (one, _):
        await says(one, "asleep")
        (identity,) = find_helpers(run_dir.parent)
        assert identity == one.process.identity
        assert helper_name(identity.pid) == "tpm"
        assert list(find_helpers(run_dir.parent / "other")) == []
        for wrong in (
            msgspec.structs.replace(identity, start_time=identity.start_time + 1),
            msgspec.structs.replace(identity, boot_id="another"),
            msgspec.structs.replace(identity, token="ff" * 8),
        ):
            assert HelperProcess.adopt(one.helper, wrong, run_dir) is None
        adopted = HelperProcess.adopt(one.helper, identity, run_dir)
        assert adopted is not None
        adopted.close()


@pytest.mark.parametrize("recorded", [True, False])
async def test_what_is_left_over_is_ended_with_a_record_of_it_and_without(
    recorded: bool, run_dir: Path
) -> None:
    async with running(SLEEPS, run_dir) as (one, _):
        await says(one, "asleep")
        kept = HelperRecord(helper=one.helper, identity=one.process.identity if recorded else None)
        await reclaim([kept], run_dir, search=None if recorded else run_dir.parent)
        assert await one.wait() == ExitStatus("signal", signal.SIGTERM)
