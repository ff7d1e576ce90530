"""vCPUs, memory, and where both lie on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.features import feature_name
from qsup.importer.libvirt.words import MIB, UNITS, Reader, at, exact, number, size, switch, whole_mib

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

POLICIES: Final = {"force": True, "require": True, "optional": True, "disable": False, "forbid": False}
MODES: Final = {
    "strict": "bind",
    "preferred": "preferred",
    "interleave": "interleave",
    "restrictive": "bind",
}


def convert(draft: Draft, domain: Element) -> None:
    """The vCPUs, the memory and the NUMA nodes."""
    _count(draft, domain)
    _model(draft, domain)
    _pinning(draft, domain)
    _memory(draft, domain)
    _backing(draft, domain)
    _numa(draft, domain)


def _count(draft: Draft, domain: Element) -> None:
    vcpu = domain.child("vcpu")
    if vcpu is None:
        return
    draft.here = at(vcpu)
    most, now = number(vcpu.text) or 1, number(vcpu.get("current"))
    draft.set("cpu", "count", to=now or most)
    if now is not None and now != most:
        draft.set("cpu", "max", to=most)
    if (vcpus := domain.child("vcpus")) is not None:
        draft.here = at(vcpus)
        draft.differs("<vcpus>", "qsup plugs vCPUs in their order, and counts them only")
        vcpus.settle()


def _model(draft: Draft, domain: Element) -> None:
    cpu = domain.child("cpu")
    mode = cpu.get("mode") if cpu is not None else None
    model = cpu.child("model") if cpu is not None else None
    draft.here = at(model or cpu or domain)
    kind = domain.child("os", "type")
    i686 = kind is not None and kind.get("arch") == "i686"
    if mode in ("host-passthrough", "maximum"):
        draft.set("cpu", "model", to="host" if mode == "host-passthrough" else "max")
    elif mode == "host-model":
        draft.set("cpu", "model", to="host")
        draft.differs(
            "<cpu mode='host-model'>", "the guest gets the host's CPU itself, not a named one like it"
        )
        if model is not None:
            model.settle()
    elif model is not None and model.text:
        draft.set("cpu", "model", to=model.text)
        _fitting(draft, model)
    else:
        draft.set("cpu", "model", to="qemu32" if i686 else "qemu64")
    if cpu is None:
        return
    cpu.get("check")
    cpu.get("migratable")
    _match(draft, cpu)
    if (vendor := cpu.child("vendor")) is not None:
        vendor.settle()
    for feature in cpu.children("feature"):
        draft.here = at(feature)
        policy, name = feature.get("policy") or "require", feature.get("name") or ""
        if (known := feature_name(name)) is not None:
            draft.set("cpu", "features", known, to=POLICIES.get(policy, True))
    _topology(draft, cpu)


def _fitting(draft: Draft, model: Element) -> None:
    model.get("fallback")
    if vendor := model.get("vendor_id"):
        draft.lost(f"<model vendor_id='{vendor}'>", "the CPU model's own vendor is what the guest sees")


def _match(draft: Draft, cpu: Element) -> None:
    match = cpu.get("match")
    if match in ("minimum", "strict"):
        draft.here = at(cpu)
        draft.lost(cpu.shown(), "the guest gets the named CPU model, exactly")


def _topology(draft: Draft, cpu: Element) -> None:
    topology = cpu.child("topology")
    if topology is None:
        return
    draft.here = at(topology)
    for key in ("sockets", "dies", "cores", "threads"):
        value = number(topology.get(key))
        if value is not None and not (key == "dies" and value == 1):
            draft.set("cpu", key, to=value)
    for key in ("clusters", "modules"):
        if number(topology.get(key)) not in (None, 1):
            draft.lost(topology.shown(), f"x86 CPUs of qsup have no {key}")


def _pinning(draft: Draft, domain: Element) -> None:
    count = number(domain.text_of("vcpu")) or 1
    vcpu = domain.child("vcpu")
    everywhere = vcpu.get("cpuset") if vcpu is not None else None
    pins: dict[int, str] = {}
    tune = domain.child("cputune")
    for pin in tune.children("vcpupin") if tune is not None else ():
        draft.here = at(pin)
        index, cpus = number(pin.get("vcpu")), pin.get("cpuset")
        if index is not None and cpus:
            pins[index] = cpus
    if everywhere and "^" not in everywhere and not pins:
        draft.here = at(vcpu) if vcpu is not None else ""
        draft.set("cpu", "pin", to=[everywhere])
        draft.set("cpu", "emulator-pin", to=everywhere)
    elif pins:
        _pins(draft, pins, count, everywhere)
    elif everywhere:
        draft.set("cpu", "pin", to=[_without(everywhere)])
    if tune is None:
        return
    if (emulator := tune.child("emulatorpin")) is not None:
        draft.here = at(emulator)
        draft.set("cpu", "emulator-pin", to=_without(emulator.get("cpuset") or ""))
    for pin in tune.children("iothreadpin"):
        draft.here = at(pin)
        draft.set("iothread", f"io{pin.get('iothread')}", "pin", to=_without(pin.get("cpuset") or ""))


def _pins(draft: Draft, pins: dict[int, str], count: int, everywhere: str | None) -> None:
    missing = sorted(set(range(count)) - set(pins))
    if missing and everywhere is None:
        last = max(pins)
        if missing != list(range(last + 1, count)):
            draft.lost(
                "<vcpupin>", f"vCPUs {missing} are pinned nowhere; qsup pins all vCPUs or the first ones"
            )
            return
    wanted = {index: pins.get(index, everywhere) for index in range(count)}
    draft.set("cpu", "pin", to=[_without(cpus) for cpus in wanted.values() if cpus])


def _without(cpus: str) -> str:
    """A list of CPUs with libvirt's exclusions (``0-3,^2``) taken out of it."""
    if "^" not in cpus:
        return cpus
    found: set[int] = set()
    for part in cpus.split(","):
        first, _, last = part.strip().removeprefix("^").partition("-")
        low, high = number(first), number(last or first)
        if low is None or high is None or high - low > 4096:
            return cpus
        some = set(range(low, high + 1))
        found = found - some if part.strip().startswith("^") else found | some
    return ",".join(map(str, sorted(found)))


def _memory(draft: Draft, domain: Element) -> None:
    element, now, most = domain.child("memory"), domain.child("currentMemory"), domain.child("maxMemory")
    said = size(element)
    total = _cells_total(domain) or said
    if element is not None and total is not None:
        draft.here = at(element)
        draft.set("memory", "size", to=whole_mib(total))
    current = size(now)
    if now is not None and current is not None and total is not None and current < total:
        draft.here = at(now)
        draft.lost(
            f"<currentMemory>{now.text}</currentMemory>",
            "the balloon starts empty; name in memory.size what the guest needs",
        )
    limit = size(most)
    if most is not None and limit is not None:
        draft.here = at(most)
        draft.set("memory", "max", to=whole_mib(limit))
        draft.set("memory", "slots", to=number(most.get("slots")))


def _cells_total(domain: Element) -> int | None:
    numa = domain.child("cpu", "numa")
    cells = numa.children("cell") if numa is not None else []
    total = sum(-(-_cell_size(cell) // MIB) * MIB for cell in cells)
    return total or None


def _cell_size(cell: Element) -> int:
    """The bytes of a NUMA node."""
    unit = UNITS.get((cell.get("unit") or "KiB").lower(), 1 << 10)
    return (number(cell.get("memory")) or 0) * unit


def _backing(draft: Draft, domain: Element) -> None:
    backing = domain.child("memoryBacking")
    if backing is None:
        return
    draft.here = at(backing)
    source, access, allocation = (backing.child(name) for name in ("source", "access", "allocation"))
    kind = Reader(draft, backing).pick(source, "type", {"file": "file", "memfd": "memfd", "anonymous": "ram"})
    huge = backing.child("hugepages")
    if huge is not None:
        kind = "memfd"
        _pages(draft, huge)
    elif kind == "file":
        draft.set("memory", "path", to="/dev/shm")  # noqa: S108 - where a file of memory belongs
        draft.differs(
            "<source type='file'>", "libvirt keeps the file in its own directory; here it is /dev/shm"
        )
    draft.set("memory", "backend", to=kind)
    mode = Reader(draft, backing).pick(access, "mode", {"shared": "shared", "private": "private"})
    if mode == "shared":
        draft.set("memory", "share", to=True)
        if kind in (None, "ram"):
            draft.set("memory", "backend", to="memfd")
    if allocation is not None:
        draft.here = at(allocation)
        draft.set("memory", "prealloc", to=allocation.get("mode") == "immediate" or None)
        allocation.get("threads")
    if backing.child("locked") is not None:
        draft.set("memory", "lock", to=True)
    if backing.child("nosharepages") is not None:
        draft.set("memory", "merge", to=False)
    if (discard := backing.child("discard")) is not None:
        draft.here = at(discard)
        draft.differs("<discard>", "the memory goes with QEMU's process; there is no file left to discard")


def _pages(draft: Draft, huge: Element) -> None:
    pages = huge.children("page")
    for page in pages[:1]:
        draft.here = at(page)
        count, unit = number(page.get("size")), page.get("unit") or "KiB"
        bytes_ = (count or 0) * UNITS.get(unit.lower(), 0)
        if bytes_ >= 1 << 16:
            draft.set("memory", "page-size", to=exact(bytes_))
        if page.get("nodeset") is not None and len(pages) == 1:
            draft.lost(page.shown(), "all of the guest's memory is of pages of one size")
    for page in pages[1:]:
        draft.here = at(page)
        draft.lost(page.shown(), "all of the guest's memory is of pages of one size")
        page.settle()
    if not pages:
        draft.set("memory", "page-size", to="2 MiB")


def _numa(draft: Draft, domain: Element) -> None:
    tune = domain.child("numatune")
    memory = tune.child("memory") if tune is not None else None
    cells = domain.child("cpu", "numa")
    listed = cells.children("cell") if cells is not None else []
    policies = {
        one.get("cellid") or "": one for one in (tune.children("memnode") if tune is not None else [])
    }
    if memory is not None and memory.get("placement") == "auto":
        draft.here = at(memory)
        draft.lost(memory.shown(), "qsup asks nobody for a placement; name the nodes")
        memory.settle()
        memory = None
    if memory is not None and not listed:
        _whole(draft, domain, memory)
        return
    for index, cell in enumerate(listed):
        _cell(draft, index, cell, policies.get(cell.get("id") or str(index)) or memory)


def _whole(draft: Draft, domain: Element, memory: Element) -> None:
    """A policy for all memory is that of the one node a guest has without any."""
    draft.here = at(memory)
    if memory.get("mode") == "restrictive":
        draft.differs(memory.shown(), "the nodes are bound by QEMU")
    count, most = draft.get("cpu", "count") or 1, draft.get("cpu", "max") or 0
    last = max(count, most) - 1
    entry = {
        "cpus": f"0-{last}" if last else "0",
        "memory": draft.get("memory", "size"),
        "host-nodes": _without(memory.get("nodeset") or "") or None,
        "policy": MODES.get(memory.get("mode") or "strict"),
    }
    draft.add("numa", "n0", entry)
    domain.get("type")


def _cell(draft: Draft, index: int, cell: Element, policy: Element | None) -> None:
    draft.here = at(cell)
    reader = Reader(draft, cell)
    bytes_ = _cell_size(cell)
    told = cell.child("distances")
    siblings = told.children("sibling") if told is not None else []
    distances = {f"n{one.get('id')}": number(one.get("value")) for one in siblings}
    distances.pop(f"n{index}", None)
    entry = {
        "cpus": cell.get("cpus"),
        "memory": whole_mib(bytes_) if bytes_ else None,
        "distance": distances or None,
    }
    if policy is not None:
        entry["host-nodes"] = _without(policy.get("nodeset") or "") or None
        entry["policy"] = MODES.get(policy.get("mode") or "strict")
    if cell.get("memAccess") == "shared":
        draft.set("memory", "share", to=True)
        draft.set("memory", "backend", to=draft.get("memory", "backend") or "memfd")
    if switch(cell, "discard"):
        draft.differs(cell.shown(), "the memory goes with QEMU's process")
    for inner in cell.children("cache"):
        reader.lost(inner, "qsup describes no caches of nodes")
    draft.add("numa", f"n{index}", entry)
