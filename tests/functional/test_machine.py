"""The machine itself on a real QEMU, through the real daemon: its type over upgrades, its firmware, CPUs and memory."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup import firmware
from qsup.guest import record
from tests.functional.harness import DEADLINE, IDLE, Site, killed

MIB = 1 << 20


async def qmp(site: Site, command: str, **arguments: Any) -> Any:
    """The answer of the guest's QEMU."""
    return await site.run("guest-qmp", name="g", command=command, arguments=arguments)


async def started(site: Site, text: str) -> dict[str, Any]:
    """Write the guest's file anew, start it, and return its facts."""
    site.guest("g", text)
    if site.process is None:
        await site.start()
    await site.run("reload-config")
    await site.run("guest-start", name="g")
    return await site.view("g")


async def machine_type(site: Site) -> str:
    """What QEMU calls the machine that it runs."""
    name = await qmp(site, "qom-get", path="/machine", property="type")
    return str(name).removesuffix("-machine")


async def test_a_guest_keeps_its_machine_when_qemu_is_upgraded(empty: Site, newer_qemu_binary: str) -> None:
    newer = f'{IDLE}[qemu]\nbinary = "{newer_qemu_binary}"\n'
    first = (await started(empty, IDLE))["machine"]
    assert re.fullmatch(r"pc-q35-\d+\.\d+", first)
    assert await machine_type(empty) == first
    kept = empty.state / "guests/g/machine.json"
    assert msgspec.json.decode(kept.read_bytes()) == {
        "version": record.VERSION,
        "alias": "q35",
        "machine": first,
    }
    assert f"Machine:    {first}," in (await empty.cli("status", "g"))[1]
    await empty.run("guest-kill", name="g")

    assert (await started(empty, newer))["machine"] == first
    assert await machine_type(empty) == first
    assert f"type={first}," in (await empty.cli("argv", "g"))[1]
    await empty.run("guest-kill", name="g")

    unpinned = newer.replace("[machine]", "[machine]\npin = false")
    assert (await started(empty, unpinned))["machine"] == "q35"
    assert await machine_type(empty) != first
    assert not kept.exists()


async def test_a_guest_whose_machine_is_gone_is_not_given_another(empty: Site) -> None:
    kept = empty.state / "guests/g/machine.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"version": 1, "alias": "q35", "machine": "pc-q35-1.0"}')
    empty.guest("g", IDLE)
    await empty.start()
    with pytest.raises(Exception, match=r'"q35" has been pc-q35-1\.0 for this guest.*write type = "pc-q35-'):
        await empty.run("guest-start", name="g")
    status, _, errors = await empty.cli("argv", "g")
    assert (status, "pc-q35-1.0" in errors) == (1, True)


async def test_uefi_keeps_its_variables_in_a_copy_of_the_guest_s_own(empty: Site) -> None:
    known = [one for one in firmware.descriptors(firmware.SYSTEM) if "secure-boot" not in one.features]
    if not known or known[0].nvram is None:
        pytest.skip("there is no UEFI firmware here (Debian: ovmf)")
    template = Path(known[0].nvram).read_bytes()
    copy = empty.state / "guests/g/nvram-uefi.fd"
    text = IDLE.replace("[machine]", '[machine]\nfirmware = "uefi"').replace("16 MiB", "128 MiB")
    await started(empty, text)
    assert copy.stat().st_mode & 0o707 == 0o600
    async with asyncio.timeout(DEADLINE):
        while copy.read_bytes() == template:
            # The firmware writes its first variables; no event announces that.
            await asyncio.sleep(0.05)
    assert copy.stat().st_size == len(template)
    await empty.run("guest-kill", name="g")

    written, inode = copy.read_bytes(), copy.stat().st_ino
    site_view = await started(empty, text)
    await killed(site_view["pid"])
    await empty.until("g", lambda view: view["pid"] != site_view["pid"])
    assert copy.stat().st_ino == inode
    assert copy.read_bytes() != template
    assert len(written) == len(template)


async def test_threads_run_on_the_cpus_that_they_are_pinned_to(empty: Site) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("this host has one CPU for us, on which all threads run")
    one, two = cpus[:2]
    pins = f'[cpu]\ncount = 2\npin = ["{one}", "{two}"]\nemulator-pin = "{two}"\n'
    pins += f'[iothread.io]\npin = "{one}"\n'
    pid = (await started(empty, IDLE + pins))["pid"]
    allowed = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        facts = dict(
            line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line
        )
        allowed[facts["Name"]] = facts["Cpus_allowed_list"]
    assert allowed.pop("CPU 0/TCG") == allowed.pop("IO iothread-io") == str(one)
    assert allowed.pop("CPU 1/TCG") == str(two)
    assert set(allowed.values()) == {str(two)}


async def test_a_cpu_that_the_host_does_not_have_is_told_before_the_start(empty: Site) -> None:
    empty.guest("g", f'{IDLE}[cpu]\npin = ["8000"]\n')
    await empty.start()
    with pytest.raises(Exception, match=r"cpu\.pin\[0\]: this host has no CPU 8000; it has 0"):
        await empty.run("guest-start", name="g")


MACHINE = """
[machine]
accel = "tcg"
[cpu]
count = 2
max = 4
[memory]
size = "64 MiB"
max = "1 GiB"
slots = 2
backend = "memfd"
prealloc = true
[numa.a]
cpus = "0-1"
memory = "48 MiB"
host-nodes = "0"
policy = "bind"
[numa.b]
cpus = "2-3"
memory = "16 MiB"
distance = { a = 17 }
[balloon]
enabled = true
[stop]
methods = []
"""


async def test_qemu_has_the_cpus_and_the_memory_that_the_file_says(empty: Site) -> None:
    await started(empty, MACHINE)
    memory = {one["id"]: one for one in await qmp(empty, "query-memdev")}
    assert (memory["numa-a"]["size"], memory["numa-b"]["size"]) == (48 * MIB, 16 * MIB)
    assert (memory["numa-a"]["policy"], memory["numa-a"]["host-nodes"]) == ("bind", [0])
    assert memory["numa-a"]["share"]
    assert memory["numa-a"]["prealloc"]
    places = await qmp(empty, "query-hotpluggable-cpus")
    assert sorted((one["props"]["node-id"], "qom-path" in one) for one in places) == [
        (0, True), (0, True), (1, False), (1, False),
    ]  # fmt: skip
    assert [one["cpu-index"] for one in await qmp(empty, "query-cpus-fast")] == [0, 1]
    assert await qmp(empty, "query-memory-devices") == []
    assert await qmp(empty, "query-memory-size-summary") == {"base-memory": 64 * MIB, "plugged-memory": 0}
    assert await qmp(empty, "query-balloon") == {"actual": 64 * MIB}
    await qmp(empty, "object-add", **{"qom-type": "memory-backend-ram", "id": "more", "size": 128 * MIB})
    await qmp(empty, "device_add", driver="pc-dimm", id="dimm", memdev="more", node=1)
    assert [one["data"]["size"] for one in await qmp(empty, "query-memory-devices")] == [128 * MIB]
