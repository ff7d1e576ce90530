"""Guests for tests of the command line, and the surroundings that they are built for."""

from __future__ import annotations

from typing import Any

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import Invocation, LaunchContext
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.disk import Disk

KVM = HostFacts("/usr/bin/qemu-system-x86_64", kvm=True)
TCG = HostFacts("/usr/bin/qemu-system-x86_64", kvm=False)
CONTEXT = LaunchContext(
    "0123456789abcdef", "/run/qsup/guests/web1/0123456789abcdef", "/var/lib/qsup/guests/web1"
)


def disk(file: str = "/d", **keys: Any) -> Disk:
    return Disk(file=HostPath(file), **keys)


def guest(**keys: Any) -> GuestSpec:
    return GuestSpec(name="web1", **keys)


def built(facts: HostFacts = KVM, context: LaunchContext = CONTEXT, **keys: Any) -> Invocation:
    return build(guest(**keys), facts, context)
