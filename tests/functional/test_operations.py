"""What an operator has a real QEMU do for long is no hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.functional.harness import Site

TIMEOUT = 1.0
GUEST = """
[machine]
accel = "tcg"
[memory]
size = "2 GiB"
[hang]
qemu-timeout = "1 s"
"""


async def test_a_dump_of_its_memory_is_no_hang(empty: Site, tmp_path: Path) -> None:
    empty.guest("web1", f'{GUEST}[qemu]\nfiles = ["{tmp_path}/dump"]\n')
    await empty.start()
    await empty.run("guest-start", name="web1")
    began = time.monotonic()
    dump = {"paging": False, "protocol": f"file:{tmp_path}/dump"}
    await empty.run("guest-qmp", name="web1", command="dump-guest-memory", arguments=dump)
    took = time.monotonic() - began
    (tmp_path / "dump").unlink()
    events = (await empty.run("query-events", names=["web1"]))["events"]
    assert not [event for event in events if event["event"] in ("GUEST_TROUBLE", "GUEST_ENDED")]
    if took < 2 * TIMEOUT:
        pytest.skip(f"QEMU was held up for {took:.2f} s only")
