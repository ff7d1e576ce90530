"""The firmware: which of those that the host has suits the guest, and how it comes into the machine."""

from __future__ import annotations

import posixpath
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.argv.board import Board
from qsup.argv.files import CopyFile
from qsup.argv.invocation import Option
from qsup.argv.quote import as_json, pairs
from qsup.errors import SpecError
from qsup.spec.tables.machine import Firmware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.facts import FirmwareDescriptor
    from qsup.argv.files import File

CODE: Final = "firmware-code"
NVRAM: Final = "firmware-nvram"
"""Ids of the nodes in the block layer."""
_UNVERSIONED: Final = {"q35": "pc-q35-", "pc": "pc-i440fx-"}
"""How the names begin that these aliases stand for: descriptors name machine types by patterns of those."""
_FORMATS: Final = frozenset({"raw", "qcow2"})
_PREFERENCE: Final = ("split", "combined", "stateless", "memory")
"""What a guest's settings survive in comes before what forgets them."""


class Chosen(NamedTuple):
    """A firmware and its parts."""

    code: str
    code_format: str
    mode: str
    """``split``: code that is only read, and a file for variables; ``combined``: one file that is written to;
    ``stateless``: one that is not; ``memory``: no flash at all."""
    nvram: str | None
    """What the file for variables, or that for all, is a copy of."""
    nvram_format: str
    smm: bool
    """Only code in System Management Mode may write to the flash: what Secure Boot rests on."""


def options(draft: Draft) -> Iterator[Option]:
    """The nodes that the machine's pflash devices name, or ``-bios``."""
    chosen = choose(draft)
    if chosen is None:
        return
    if chosen.mode == "memory":
        yield Option("-bios", chosen.code)
        return
    if chosen.mode != "combined":
        yield from _nodes(CODE, chosen.code, chosen.code_format, read_only=True)
    if chosen.nvram is not None:
        yield from _nodes(NVRAM, _nvram_file(draft, chosen), chosen.nvram_format, read_only=False)
    if chosen.smm:
        yield Option("-global", pairs(driver="cfi.pflash01", property="secure", value=True))


def machine_words(draft: Draft) -> dict[str, str | bool]:
    """What the machine has to be told of its firmware."""
    chosen = choose(draft)
    if chosen is None or chosen.mode == "memory":
        return {}
    flash = [CODE] * (chosen.mode != "combined") + [NVRAM] * (chosen.nvram is not None)
    smm = {"smm": True} if chosen.smm else {}
    return {**smm, **{f"pflash{index}": node for index, node in enumerate(flash)}}


def files(draft: Draft) -> Iterator[File]:
    """The guest's own copy of the variables."""
    chosen = choose(draft)
    if chosen is not None and chosen.nvram is not None:
        source = ("machine", "firmware" if draft.spec.machine.nvram_template is None else "nvram-template")
        yield CopyFile(chosen.nvram, _nvram_file(draft, chosen), source)


def choose(draft: Draft) -> Chosen | None:
    """The firmware of the guest; None for the machine's own, and where the host has not been asked for any.

    Raises SpecError if the host has none that suits.
    """
    machine = draft.spec.machine
    secure = machine.firmware is Firmware.UEFI_SECURE_BOOT
    if secure and draft.board is not Board.Q35:
        raise SpecError('machine.firmware = "uefi-secure-boot" is for q35')
    if machine.firmware_code is not None:
        return _named(draft, machine.firmware_code, smm=secure)
    if machine.firmware is Firmware.BIOS or draft.facts.firmware is None:
        return None
    suiting = [one for one in draft.facts.firmware if _suits(draft, one, secure=secure)]
    if not suiting:
        raise SpecError(
            f'machine.firmware: no firmware here is "{machine.firmware}" for {draft.machine}; install one (Debian: '
            "ovmf, Fedora: edk2-ovmf) with its descriptor in /usr/share/qemu/firmware, or name it: firmware-code"
        )
    best = min(suiting, key=lambda one: _PREFERENCE.index(one.mode))
    nvram, form = (
        (best.code, best.code_format) if best.mode == "combined" else (best.nvram, best.nvram_format)
    )
    return Chosen(best.code, best.code_format, best.mode, nvram, form, "requires-smm" in best.features)


def _named(draft: Draft, code: str, *, smm: bool) -> Chosen:
    machine = draft.spec.machine
    if machine.firmware is Firmware.BIOS or draft.board is Board.MICROVM:
        return Chosen(str(code), "raw", "memory", None, "raw", smm=False)
    template = None if machine.nvram_template is None else str(machine.nvram_template)
    mode = "stateless" if template is None else "split"
    return Chosen(str(code), _format(code), mode, template, _format(template or ""), smm)


def _format(file: str) -> str:
    """The format of a firmware file that its name alone tells; it is the host's, and no guest writes to it."""
    return "qcow2" if file.endswith(".qcow2") else "raw"


def _suits(draft: Draft, one: FirmwareDescriptor, *, secure: bool) -> bool:
    if "uefi" not in one.interfaces or one.mode not in _PREFERENCE:
        return False
    if {one.code_format, one.nvram_format} - _FORMATS or (one.mode == "split" and one.nvram is None):
        return False
    if draft.board is Board.MICROVM and one.mode != "memory":
        return False
    wanted = {"secure-boot", "enrolled-keys"}
    if not (wanted <= one.features if secure else one.features.isdisjoint({"secure-boot", "requires-smm"})):
        return False
    known = draft.facts.machines.get(draft.machine)
    name = known.name if known is not None else _UNVERSIONED.get(draft.machine, draft.machine)
    architecture = "i386" if draft.facts.binary.endswith("-i386") else "x86_64"
    return any(
        architecture == target and any(fnmatchcase(name, pattern) for pattern in machines)
        for target, machines in one.targets
    )


def _nvram_file(draft: Draft, chosen: Chosen) -> str:
    """Each kind of firmware has a file of its own: keys that are not enrolled in one must not weaken the other."""
    ending = "qcow2" if chosen.nvram_format == "qcow2" else "fd"
    return posixpath.join(draft.context.state_dir, f"nvram-{draft.spec.machine.firmware}.{ending}")


def _nodes(node: str, file: str, format_: str, *, read_only: bool) -> Iterator[Option]:
    below = {"driver": "file", "node-name": f"file-{node}", "filename": file, "read-only": read_only}
    yield as_json("-blockdev", below)
    above = {"driver": format_, "node-name": node, "file": f"file-{node}", "read-only": read_only}
    yield as_json("-blockdev", above)
