"""The balloon. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import Annotated

from qsup.spec.base import Section, about


class Balloon(Section, frozen=True, kw_only=True):
    """The virtio balloon, through which the guest gives memory back to the host."""

    enabled: Annotated[bool, about("Whether the guest has it.", qemu="-device virtio-balloon-pci")] = False
    free_page_reporting: Annotated[
        bool,
        about(
            "Whether the guest tells which pages it has freed, so that the host can use them.",
            qemu="-device virtio-balloon-pci,free-page-reporting=",
        ),
    ] = True
    deflate_on_oom: Annotated[
        bool,
        about(
            "Whether the guest takes memory back out of the balloon before it kills processes.",
            qemu="-device virtio-balloon-pci,deflate-on-oom=",
        ),
    ] = True
