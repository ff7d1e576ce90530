"""The guest agent's channel. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import Annotated

from qsup.spec.base import Section, about


class Agent(Section, frozen=True, kw_only=True):
    """The channel of the QEMU guest agent."""

    enabled: Annotated[bool, about("Whether the guest has the channel `org.qemu.guest_agent.0`.")] = False
