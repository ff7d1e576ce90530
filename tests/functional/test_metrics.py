"""Metrics of real guests, as a scraper gets them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser

from tests.functional.harness import DEADLINE, HEARTBEAT, IDLE, Site, under_kvm

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
ACCEPT = b"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"


class Scraper:
    """Reads the metrics of a site, over a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: Samples = {}

    async def scrape(self) -> None:
        """Get all figures, as they are now or were within the last second."""
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_unix_connection(self.path)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + ACCEPT + b"\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"), head
        families = parser.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
        self._last = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """A figure of the last scrape."""
        return self._last.get((f"qsup_{name}", frozenset(labels.items())))

    def figure(self, name: str, **labels: str) -> float:
        """The same, of one that has to be there."""
        found = self.value(name, **labels)
        assert found is not None, (name, labels)
        return found

    async def until(self, reached: Callable[[], bool]) -> None:
        """Scrape until a condition holds. No event tells of figures, so it is looked again and again."""
        async with asyncio.timeout(DEADLINE):
            await self.scrape()
            while not reached():
                await asyncio.sleep(0.2)
                await self.scrape()


@pytest.fixture
async def scraper(empty: Site, heartbeat_image: Path) -> Scraper:
    """Of a site with the guests ``heart``, which beats, and ``idle``, which is paused."""
    place = empty.root / "m.sock"
    with (empty.config / "qsup.toml").open("a") as file:
        file.write(f'[metrics]\nlisten = "unix:{place}"\n')
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + '[restart]\ndelay = "0 s"\n')
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.said("metrics are served")
    return Scraper(place)


async def test_what_a_guest_does_shows(scraper: Scraper, empty: Site) -> None:
    value = scraper.value
    await scraper.scrape()
    assert value("guest_phase", guest="heart", qsup_guest_phase="stopped") == 1
    assert value("guest_wanted", guest="heart") == 0
    assert value("guest_qmp_up", guest="heart") is None
    assert value("guest_memory_bytes", guest="heart") == 32 << 20

    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    await scraper.until(lambda: value("guest_ready", guest="heart") == 1)
    assert value("guest_phase", guest="heart", qsup_guest_phase="running") == 1
    assert value("guest_condition", guest="heart", qsup_guest_condition="well") == 1
    assert value("guest_qmp_up", guest="heart") == 1
    assert scraper.figure("guest_time_to_ready_seconds", guest="heart") > 0
    assert scraper.figure("guest_vcpu_cpu_seconds_total", guest="heart", vcpu="0") > 0
    assert scraper.figure("guest_resident_memory_bytes", guest="heart") > 16 << 20
    reads = scraper.figure("guest_disk_reads_completed_total", guest="heart", disk="root")
    assert scraper.figure("guest_disk_read_bytes_total", guest="heart", disk="root") >= 512 * reads > 0

    await empty.run("guest-reset", name="heart")
    await scraper.until(
        lambda: scraper.figure("guest_disk_reads_completed_total", guest="heart", disk="root") > reads
    )

    os.kill((await empty.view("heart"))["pid"], signal.SIGKILL)
    await scraper.until(lambda: value("guest_restarts_total", guest="heart", cause="qemu-signal") == 1)
    assert value("guest_ends_total", guest="heart", cause="qemu-signal") == 1
    assert value("guest_failures_total", guest="heart") == 1
    assert value("guest_failures_total", guest="idle") == 0
    assert value("guest_recent_failures", guest="heart") == 1
    assert value("events_total", event="GUEST_ENDED") == 1
    assert scraper.figure("event_loop_lag_seconds_count") > 10


async def test_a_qemu_that_hangs_costs_its_own_figures_only(scraper: Scraper, empty: Site) -> None:
    value = scraper.value
    for name in ("heart", "idle"):
        await empty.run("guest-start", name=name)
    pid = (await empty.view("heart"))["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        await scraper.until(lambda: value("guest_qmp_up", guest="heart") == 0)
        assert value("guest_disk_reads_completed_total", guest="heart", disk="root") is None
        assert value("guest_cpu_seconds_total", guest="heart", mode="user") is not None
        assert value("guest_qmp_up", guest="idle") == 1
        assert value("guest_vcpu_cpu_seconds_total", guest="idle", vcpu="0") is not None
    finally:
        os.kill(pid, signal.SIGCONT)
    await scraper.until(lambda: value("guest_qmp_up", guest="heart") == 1)


@pytest.mark.kvm
async def test_what_kvm_counts_shows(scraper: Scraper, empty: Site) -> None:
    empty.guest("fast", under_kvm(IDLE) + "[balloon]\nenabled = true\n")
    await empty.said("fast: definition added")
    await empty.run("guest-start", name="fast")
    await scraper.until(lambda: scraper.value("guest_kvm_exits_total", guest="fast") not in (None, 0))
    assert scraper.figure("guest_kvm_exits_by_reason_total", guest="fast", reason="mmio") >= 0
    assert scraper.figure("guest_balloon_bytes", guest="fast") == 16 << 20
    view = await empty.view("fast")
    about = {"guest": "fast", "machine": view["machine"], "accel": "kvm", "qemu": view["qemu"]}
    assert scraper.figure("guest_info", **about) == 1


async def test_where_they_are_served_is_what_the_file_says_now(scraper: Scraper, empty: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (empty.config / "qsup.toml").write_text(f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        await empty.said(f"no metrics are served: cannot listen on 127.0.0.1:{port}: Address already in use")
        assert not scraper.path.exists()
    await empty.run("reload-config")
    await empty.said(f"metrics are served at 127.0.0.1:{port}")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;")
    writer.close()
    (empty.config / "qsup.toml").write_text("")
    await empty.said("configuration read again")
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                break
            writer.close()
