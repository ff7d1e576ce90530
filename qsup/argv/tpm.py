"""The TPM: a device of QEMU, and the swtpm that it talks to."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from qsup.argv.board import Board
from qsup.argv.helper import HELPER_FD, Helper
from qsup.argv.invocation import Option
from qsup.argv.quote import device, pairs
from qsup.errors import SpecError
from qsup.spec.programs import SWTPM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

TPM: Final = "tpm"
STATE: Final = "tpm"
"""The directory of its state in the guest's state directory."""
GET_CAPABILITY: Final = bytes.fromhex("00000001")
"""CMD_GET_CAPABILITY of swtpm's control channel (swtpm_ioctls(3)): which commands it knows."""

CAPABILITY: Final = 8
"""Bytes of its answer: a result and the set of commands."""


def options(draft: Draft) -> Iterator[Option]:
    """QEMU cannot reconnect to a swtpm: what that had in memory is lost with it."""
    tpm = draft.spec.tpm
    if not tpm.enabled:
        return
    if draft.board is Board.MICROVM:
        raise SpecError("tpm: a microvm does not tell its guest of a TPM; use machine type q35")
    yield Option("-chardev", draft.connected(TPM))
    yield Option("-tpmdev", pairs("emulator", id=TPM, chardev=TPM))
    yield device({"driver": f"tpm-{tpm.model}", "id": "tpm-device", "tpmdev": TPM})


def helpers(draft: Draft) -> Iterator[Helper]:
    """swtpm; with ``--terminate`` it ends with its connection."""
    if not draft.spec.tpm.enabled:
        return
    state = posixpath.join(draft.context.state_dir, STATE)
    if "," in state:
        raise SpecError(
            f"swtpm cannot keep its state in {state}: it would end the path at the comma; choose another --state-dir"
        )
    yield Helper(
        TPM,
        (
            draft.facts.program(SWTPM).path, "socket", "--tpm2", "--terminate",
            "--ctrl", f"type=unixio,fd={HELPER_FD}",
            "--tpmstate", f"dir={state},mode=0600",
        ),
        draft.connections[TPM],
        GET_CAPABILITY,
        CAPABILITY,
        state,
        is_confined=True,
    )  # fmt: skip
