"""What is asked of a QEMU binary, and the facts that its answers make."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.argv.facts import HostFacts, MachineType
from qsup.errors import LaunchError
from qsup.probe.conversation import Bounds, Conversation, DiedError
from qsup.probe.kvm import kvm_trouble
from qsup.probe.listing import listed
from qsup.probe.schema import Entity, digest
from qsup.probe.uring import io_uring
from qsup.probe.vhost import vhost_net

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS: Final = ("-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S")
DEADLINE: Final = 15.0
"""Seconds for everything; QEMU takes half a second on an idle host."""
TRIES: Final = 4
"""How many QEMUs may die over questions, one each, before no more are asked."""
MANY: Final = 4096
"""Entries of one list that are taken; QEMU 10 has 500 device types."""


LISTS: Final = {"displays": "-display", "audio-backends": "-audiodev"}
"""Lists that QEMU prints, as its schema tells too much or nothing: what they are called here, and of what option."""


class _Triple(msgspec.Struct):
    major: int
    minor: int
    micro: int


class _Version(msgspec.Struct):
    qemu: _Triple
    package: str = ""


class _Kvm(msgspec.Struct):
    enabled: bool
    present: bool


class _Machine(msgspec.Struct, rename="kebab"):
    name: str
    cpu_max: int
    alias: str | None = None
    deprecated: bool = False


class _Cpu(msgspec.Struct, rename="kebab"):
    name: str
    unavailable_features: tuple[str, ...] = ()


class _Named(msgspec.Struct):
    name: str


class _Option(msgspec.Struct):
    option: str
    parameters: tuple[_Named, ...] = ()


@dataclass
class Answers:
    """What is known so far. A question over which a QEMU died is not asked again."""

    facts: dict[str, Any] = field(default_factory=dict)
    cpus: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    devices: dict[str, frozenset[str]] = field(default_factory=dict)
    kvm: bool = True
    """A QEMU that is told to use KVM and cannot does not even start."""
    asked: set[str] = field(default_factory=set)
    pid_seen: Callable[[int], None] = lambda _pid: None


def find_out(
    binary: str, seen: Callable[[int], None] = lambda _pid: None, stop: int | None = None
) -> HostFacts:
    """Ask the binary all that there is to know; ``seen`` is called with the pid of each QEMU while it lives.

    ``stop`` is an fd that becomes readable when nobody waits any more.

    KVM is tried first, as CPU models mean something else under each accelerator. Raises LaunchError with QEMU's own
    words if it cannot be asked at all. What it dies over, or does not know, stays unknown.
    """
    answers = Answers(pid_seen=seen)
    bounds = Bounds(time.monotonic() + DEADLINE, stop)
    trouble = kvm_trouble()
    if trouble is None:
        try:
            _converse(binary, "kvm", answers, bounds)
            trouble = None if answers.kvm else f"{binary} does not use KVM"
        except DiedError as error:
            trouble = str(error)
    try:
        _converse(binary, "tcg", answers, bounds)
    except DiedError as error:
        # A QEMU may be built without TCG, or without KVM, but one of them answers.
        if not answers.asked:
            raise LaunchError(str(error)) from None
    members = {name: known for name, option in LISTS.items() if (known := listed(binary, option, bounds))}
    answers.facts["members"] = {**answers.facts.get("members", {}), **members}
    return HostFacts(
        binary=binary,
        kvm=trouble is None,
        kvm_trouble=trouble,
        vhost_net=vhost_net(),
        io_uring=io_uring(),
        cpus=answers.cpus,
        devices=answers.devices,
        **answers.facts,
    )


def _converse(binary: str, accel: str, answers: Answers, bounds: Bounds) -> None:
    """Ask what is not known yet, starting QEMU again if it dies over a question. DiedError: it does not even start."""
    for _ in range(TRIES):
        with Conversation(binary, [*OPTIONS, "-accel", accel], bounds) as qemu:
            answers.pid_seen(qemu.pid)
            with contextlib.suppress(DiedError):
                _questions(qemu, accel, answers)
                return


def _questions(qemu: Conversation, accel: str, answers: Answers) -> None:
    for name, question in _QUESTIONS.items():
        if name not in answers.asked:
            answers.asked.add(name)
            question(qemu, answers)
    if f"cpus {accel}" not in answers.asked:
        answers.asked.add(f"cpus {accel}")
        cpus = qemu.query(list[_Cpu], "query-cpu-definitions") or []
        answers.cpus[accel] = {cpu.name: cpu.unavailable_features for cpu in cpus[:MANY]}
    if "devices" not in answers.asked:
        answers.asked.add("devices")
        _device_types(qemu, answers)
    if "options" not in answers.asked:
        answers.asked.add("options")
        _options(qemu, answers)
    for device, properties in answers.devices.items():
        if not properties and device not in answers.asked:
            answers.asked.add(device)
            known = qemu.query(list[_Named], "device-list-properties", typename=device) or []
            answers.devices[device] = frozenset(one.name for one in known[:MANY])


def _version(qemu: Conversation, answers: Answers) -> None:
    told = qemu.query(_Version, "query-version")
    if told is not None:
        version = f"{told.qemu.major}.{told.qemu.minor}.{told.qemu.micro}"
        answers.facts["version"] = f"{version} ({told.package[:80]})" if told.package else version


def _kvm(qemu: Conversation, answers: Answers) -> None:
    told = qemu.query(_Kvm, "query-kvm")
    answers.kvm = told is None or told.enabled


def _kvm_properties(qemu: Conversation, answers: Answers) -> None:
    told = qemu.query(list[_Named], "qom-list-properties", typename="kvm-accel") or []
    answers.facts["takes_kvm"] = any(one.name == "device" for one in told)


def _machines(qemu: Conversation, answers: Answers) -> None:
    machines: dict[str, MachineType] = {}
    for one in (qemu.query(list[_Machine], "query-machines") or [])[:MANY]:
        machine = MachineType(one.name, one.cpu_max, one.deprecated)
        machines[one.name] = machine
        if one.alias:
            machines[one.alias] = machine
    # What the probe itself runs is nothing that a guest could.
    machines.pop("none", None)
    answers.facts["machines"] = machines


def _options(qemu: Conversation, answers: Answers) -> None:
    """Asked when the modules have been loaded: that of SPICE brings an option with it."""
    options: dict[str, frozenset[str]] = {}
    for one in (qemu.query(list[_Option], "query-command-line-options") or [])[:MANY]:
        # The list of an option's parameters is called after the option, with few exceptions: boot-opts, smp-opts.
        name = one.option.removesuffix("-opts")
        if name:
            options[name] = frozenset(parameter.name for parameter in one.parameters[:MANY])
    answers.facts["options"] = options


def _schema(qemu: Conversation, answers: Answers) -> None:
    answers.facts["members"] = digest(qemu.query(list[Entity], "query-qmp-schema") or [])


def _device_types(qemu: Conversation, answers: Answers) -> None:
    """All devices but the CPUs, which have hundreds of properties each and are asked for as models.

    This makes QEMU load all its modules, over which one of another build than theirs dies; so it comes last.
    """

    def types(implements: str) -> list[str]:
        found = qemu.query(list[_Named], "qom-list-types", implements=implements, abstract=False) or []
        return [one.name for one in found[:MANY]]

    cpus = frozenset(types("cpu"))
    answers.devices = {name: frozenset() for name in types("device") if name not in cpus}


_QUESTIONS: Final[dict[str, Callable[[Conversation, Answers], None]]] = {
    "query-version": _version,
    "query-kvm": _kvm,
    "qom-list-properties": _kvm_properties,
    "query-machines": _machines,
    "query-qmp-schema": _schema,
}
