"""The guest's TPM. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class TpmModel(StrEnum):
    """How the guest talks to its TPM: by a command response buffer, or by the older FIFO."""

    CRB = "crb"
    TIS = "tis"


class Tpm(Section, frozen=True, kw_only=True):
    """A TPM 2.0, which swtpm emulates: a helper process that qsup starts and ends with the guest."""

    enabled: Annotated[
        bool,
        about(
            "Whether the guest has a TPM 2.0. Its state, keys included, stays in the guest's state directory.",
            qemu="-tpmdev emulator",
        ),
    ] = False
    model: Annotated[
        TpmModel,
        about("`crb`, or `tis` for systems that do not know that.", qemu="-device tpm-crb / tpm-tis"),
    ] = TpmModel.CRB
