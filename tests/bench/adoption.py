"""How long a new daemon takes until it has all guests under supervision again, from exec to READY."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

from tests.bench.place import place
from tests.functional.harness import IDLE

COUNT = 100
RUNS = 9


async def measure(root: Path, binary: str) -> None:
    """With 100 paused guests: kill the daemon, start the next one, and wait until it says that it is ready."""
    names = [f"guest{number}" for number in range(COUNT)]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed qsup has its bytecode at hand.
    async with place(root, binary, dict.fromkeys(names, IDLE)) as (here, wire):
        for name in names:
            wire.execute("guest-start", name=name)
            wire.execute("guest-pause", name=name)
        took = []
        for _ in range(RUNS):
            assert here.process is not None
            here.process.send_signal(signal.SIGKILL)
            await here.process.wait()
            began = time.perf_counter()
            await here.start(development=False)
            took.append(time.perf_counter() - began)
            await here.client.disconnect()
        client = await here.connect()
        views = await client.execute("query-guests")
        assert isinstance(views, list)
        adopted = sum(view["adopted"] and view["phase"] == "paused" for view in views)
        await client.disconnect()
    print(f"exec to READY with {COUNT} paused guests, {adopted} adopted:", end=" ")
    print(f"{min(took):.2f}, {statistics.median(took):.2f}, {max(took):.2f} s", flush=True)
