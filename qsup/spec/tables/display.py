"""The guest's screen. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class DisplayType(StrEnum):
    """Where the guest's screen goes."""

    NONE = "none"
    VNC = "vnc"


class Display(Section, frozen=True, kw_only=True):
    """The guest's screen."""

    type: Annotated[
        DisplayType,
        about(
            "`none`, or `vnc`: a VGA card whose screen is served on a Unix socket in the guest's run directory (`qsup status` tells where)."
        ),
    ] = DisplayType.NONE
