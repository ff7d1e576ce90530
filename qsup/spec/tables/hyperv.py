"""Hyper-V enlightenments. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

VENDOR: Final = form(
    r"^[A-Za-z0-9_. -]{1,12}$(?!\n)",
    "a vendor id is up to 12 letters, digits, spaces, or any of _ . -",
)
RECOMMENDED: Final = (
    "relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "time", "frequencies", "tlbflush", "ipi",
)  # fmt: skip
"""What QEMU's manual recommends for Windows and every KVM can give, on Intel and AMD alike."""
RECOMMENDED_SPINLOCKS: Final = 8191
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "synic": ("vpindex",),
    "stimer": ("vpindex", "synic", "time"),
    "stimer-direct": ("vpindex", "synic", "time", "stimer"),
    "tlbflush": ("vpindex",),
    "tlbflush-ext": ("vpindex", "tlbflush"),
    "tlbflush-direct": ("vpindex", "tlbflush", "vapic"),
    "ipi": ("vpindex",),
    "evmcs": ("vapic",),
    "emsr-bitmap": ("vapic",),
}
"""What an enlightenment cannot do without, all of it: QEMU's manual, "Hyper-V Enlightenments"."""


class Hyperv(Section, frozen=True, kw_only=True):
    """Hyper-V enlightenments: Windows runs faster on a hypervisor that it knows. KVM only.

    Under `accel = "auto"` a guest that has to run without KVM goes without them.
    """

    enabled: Annotated[
        bool,
        about(
            "Whether the guest has the recommended set: `relaxed` `vapic` `vpindex` `runtime` `synic` `stimer` `time` `frequencies` `tlbflush` `ipi` and `spinlocks = 8191`. Each of the keys below adds to it or takes away.",
            qemu="-cpu …,hv-…",
        ),
    ] = False
    relaxed: Annotated[
        bool | None,
        about("No time-outs for what a busy host does late.", qemu="-cpu …,hv-relaxed="),
    ] = None
    vapic: Annotated[
        bool | None,
        about("The interrupt controller by quick registers.", qemu="-cpu …,hv-vapic="),
    ] = None
    vpindex: Annotated[
        bool | None,
        about("The vCPU tells its number; many others need it.", qemu="-cpu …,hv-vpindex="),
    ] = None
    runtime: Annotated[
        bool | None,
        about("The vCPU tells how long it has really run.", qemu="-cpu …,hv-runtime="),
    ] = None
    synic: Annotated[
        bool | None,
        about("The synthetic interrupt controller. Needs `vpindex`.", qemu="-cpu …,hv-synic="),
    ] = None
    stimer: Annotated[
        bool | None,
        about("Synthetic timers. Needs `vpindex`, `synic` and `time`.", qemu="-cpu …,hv-stimer="),
    ] = None
    stimer_direct: Annotated[
        bool | None,
        about(
            "Timers that interrupt directly. Needs `stimer` and what that needs.",
            qemu="-cpu …,hv-stimer-direct=",
        ),
    ] = None
    time: Annotated[
        bool | None,
        about("The reference counter and the TSC page: clocks without exits.", qemu="-cpu …,hv-time="),
    ] = None
    frequencies: Annotated[
        bool | None,
        about("The frequencies of TSC and APIC, told.", qemu="-cpu …,hv-frequencies="),
    ] = None
    reenlightenment: Annotated[
        bool | None,
        about(
            "The guest hears when the TSC's frequency has changed; for nested guests that are migrated.",
            qemu="-cpu …,hv-reenlightenment=",
        ),
    ] = None
    tlbflush: Annotated[
        bool | None,
        about("TLB flushes by one call for many vCPUs. Needs `vpindex`.", qemu="-cpu …,hv-tlbflush="),
    ] = None
    tlbflush_ext: Annotated[
        bool | None,
        about("TLB flushes of single ranges. Needs `tlbflush`.", qemu="-cpu …,hv-tlbflush-ext="),
    ] = None
    tlbflush_direct: Annotated[
        bool | None,
        about(
            "TLB flushes of nested guests. Needs `tlbflush` and `vapic`.",
            qemu="-cpu …,hv-tlbflush-direct=",
        ),
    ] = None
    ipi: Annotated[
        bool | None,
        about("Interrupts between vCPUs by one call. Needs `vpindex`.", qemu="-cpu …,hv-ipi="),
    ] = None
    evmcs: Annotated[
        bool | None,
        about(
            "For Hyper-V in the guest, on Intel: quick state of nested guests. Needs `vapic`.",
            qemu="-cpu …,hv-evmcs=",
        ),
    ] = None
    emsr_bitmap: Annotated[
        bool | None,
        about("For Hyper-V in the guest: quick MSR bitmaps. Needs `vapic`.", qemu="-cpu …,hv-emsr-bitmap="),
    ] = None
    xmm_input: Annotated[
        bool | None,
        about("Calls that pass their input in XMM registers.", qemu="-cpu …,hv-xmm-input="),
    ] = None
    avic: Annotated[
        bool | None,
        about(
            "Lets the host's hardware deliver interrupts (APICv, AVIC) in spite of `synic`.",
            qemu="-cpu …,hv-avic=",
        ),
    ] = None
    crash: Annotated[
        bool | None,
        about(
            "Windows tells of a crash, as Linux does through `[panic]`: a `guest-panic` then.",
            qemu="-cpu …,hv-crash=",
        ),
    ] = None
    reset: Annotated[
        bool | None,
        about("A register for resets; newer versions of Windows use it no more.", qemu="-cpu …,hv-reset="),
    ] = None
    spinlocks: Annotated[
        Annotated[int, Meta(ge=4095, le=4294967295)] | None,
        about(
            "How often the guest tries a lock before it tells the hypervisor; 4294967295 is for ever.",
            qemu="-cpu …,hv-spinlocks=",
        ),
    ] = None
    vendor_id: Annotated[
        Annotated[str, VENDOR] | None,
        about(
            "The hypervisor's name as the guest sees it; QEMU's own is `Microsoft Hv`.",
            qemu="-cpu …,hv-vendor-id=",
        ),
    ] = None

    def features(self) -> dict[str, bool | int | str]:
        """What is set, by the names of the keys; what is recommended gives way where its needs are turned off."""
        chosen: dict[str, bool | int | str] = {}
        for field, key in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            value = getattr(self, field)
            if field == "enabled":
                continue
            if value is None and self.enabled:
                value = self._recommended(key)
            if value is not None:
                chosen[key] = value
        return chosen

    def _recommended(self, key: str) -> bool | int | None:
        if key == "spinlocks":
            return RECOMMENDED_SPINLOCKS
        needs = (getattr(self, need.replace("-", "_")) for need in NEEDS.get(key, ()))
        return True if key in RECOMMENDED and False not in needs else None

    def wrong(self) -> Iterator[Finding]:
        """Enlightenments without those that they stand on."""
        chosen = self.features()
        for key, value in chosen.items():
            lacking = [need for need in NEEDS.get(key, ()) if not chosen.get(need)]
            if value and lacking:
                yield (key,), f"needs {', '.join(f'{need} = true' for need in lacking)} as well"
