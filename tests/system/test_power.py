"""The host's power, by a real logind: what it is asked to wait for."""

from __future__ import annotations

import json

from tests.system.host import Host

SLOW = """
[machine]
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[stop]
methods = ["acpi"]
timeout = "3 s"
"""
"""A machine that nobody boots, so that it does not hear the power button."""


def locks(here: Host) -> set[tuple[str, str]]:
    """What is inhibited by the daemon, and how."""
    words = "busctl --json=short call org.freedesktop.login1 /org/freedesktop/login1"
    answer = json.loads(here.run(*words.split(), "org.freedesktop.login1.Manager", "ListInhibitors"))
    return {(what, mode) for what, who, _, mode, *_ in answer["data"][0] if who == "qsupd"}


def test_nobody_turns_the_host_off_under_a_stop_and_it_waits_before_it_sleeps(units: Host) -> None:
    units.guests(slow=SLOW)
    units.qsup("start", "slow")
    units.until(lambda: locks(units) == {("sleep", "delay")})
    units.qsup("stop", "--no-wait", "slow")
    units.until(lambda: locks(units) == {("sleep", "delay"), ("shutdown", "block")})
    units.until(lambda: units.status("slow")["phase"] == "stopped")
    units.until(lambda: locks(units) == {("sleep", "delay")})
