"""The features of the machine, of KVM and of Hyper-V."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.importer.libvirt.words import ON, at, cpu_flag, number, switch

if TYPE_CHECKING:
    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

KVM_FEATURES: Final = {
    "hint-dedicated": "kvm-hint-dedicated",
    "poll-control": "kvm-poll-control",
    "pv-ipi": "kvm-pv-ipi",
}
HYPERV: Final = {
    "relaxed": "relaxed",
    "vapic": "vapic",
    "vpindex": "vpindex",
    "runtime": "runtime",
    "synic": "synic",
    "stimer": "stimer",
    "reset": "reset",
    "frequencies": "frequencies",
    "reenlightenment": "reenlightenment",
    "tlbflush": "tlbflush",
    "ipi": "ipi",
    "evmcs": "evmcs",
    "avic": "avic",
    "emsr_bitmap": "emsr-bitmap",
    "xmm_input": "xmm-input",
}


def convert(draft: Draft, domain: Element) -> None:
    """What the machine and its hypervisor show: `<features>`."""
    features = domain.child("features")
    present = {feature.name: feature for feature in features.children()} if features is not None else {}
    if "acpi" not in present:
        draft.here = at(features or domain)
        draft.pass_on("no ACPI", ["-machine", "acpi=off"])
    for name, feature in present.items():
        draft.here = at(feature)
        _feature(draft, name, feature)
    if (smm := present.get("smm")) is not None and (tseg := smm.child("tseg")) is not None:
        draft.here = at(tseg)
        count = number(tseg.text)
        unit = (tseg.get("unit") or "MiB").lower()
        if count and unit == "mib":
            draft.pass_on(tseg.shown(), ["-global", f"mch.extended-tseg-mbytes={count}"])
        else:
            draft.lost(tseg.shown(), "qsup passes whole MiB only")


def _feature(draft: Draft, name: str, feature: Element) -> None:
    state = feature.get("state")
    match name:
        case "acpi" | "pae" | "hap":
            pass
        case "apic":
            cpu_flag(draft, "kvm-pv-eoi", feature.get("eoi"))
        case "vmport" | "smm":
            if state is not None:
                draft.pass_on(feature.shown(), ["-machine", f"{name}={state}"])
        case "pmu":
            cpu_flag(draft, "pmu", state)
        case "pvspinlock":
            cpu_flag(draft, "kvm-pv-unhalt", state or ON)
        case "vmcoreinfo":
            if state in (None, ON):
                draft.pass_on(feature.shown(), ["-device", "vmcoreinfo"])
        case "ps2":
            if state is not None:
                draft.pass_on(feature.shown(), ["-machine", f"i8042={state}"])
        case "ioapic":
            chip = {"kvm": "on", "qemu": "split"}.get(feature.get("driver") or "")
            draft.pass_on(feature.shown(), ["-machine", f"kernel-irqchip={chip}"])
        case "kvm":
            _kvm(draft, feature)
        case "hyperv":
            _hyperv(draft, feature)
        case _:
            draft.lost(feature.shown(), "qsup has no counterpart")
            feature.settle()


def _kvm(draft: Draft, kvm: Element) -> None:
    for one in kvm.children():
        state = one.get("state")
        draft.here = at(one)
        if one.name == "hidden":
            cpu_flag(draft, "kvm", None if state is None else "off" if state == ON else "on")
        elif one.name in KVM_FEATURES:
            cpu_flag(draft, KVM_FEATURES[one.name], state)
        else:
            draft.lost(one.shown(), "it is a property of the accelerator, and that is machine.accel's")
            one.settle()


def _hyperv(draft: Draft, hyperv: Element) -> None:
    if (mode := hyperv.get("mode")) == "passthrough":
        draft.lost(hyperv.shown(), "qsup names each enlightenment; hyperv.enabled is the recommended set")
        draft.set("hyperv", "enabled", to=True)
    elif mode not in (None, "custom"):
        draft.lost(hyperv.shown(), "qsup does not know this mode")
    for one in hyperv.children():
        draft.here = at(one)
        state = one.get("state")
        if state is None:
            continue
        if one.name in HYPERV:
            draft.set("hyperv", HYPERV[one.name], to=state == ON)
        elif one.name == "spinlocks" and state == ON:
            draft.set("hyperv", "spinlocks", to=number(one.get("retries")) or 8191)
        elif one.name == "vendor_id" and state == ON:
            draft.set("hyperv", "vendor-id", to=one.get("value"))
        elif state == ON:
            cpu_flag(draft, f"hv-{one.name.replace('_', '-')}", state)
        if one.name == "stimer" and (direct := switch(one.child("direct"), "state")) is not None:
            draft.set("hyperv", "stimer-direct", to=direct)
        if one.name == "tlbflush":
            for inner in one.children("direct", "extended"):
                key = "tlbflush-ext" if inner.name == "extended" else "tlbflush-direct"
                draft.set("hyperv", key, to=switch(inner, "state"))
