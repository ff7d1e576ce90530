"""The kinds of machine that differ in which devices they can have. Pure."""

from __future__ import annotations

from enum import StrEnum


class BoardKind(StrEnum):
    """What a machine type is, whatever its version."""

    Q35 = "q35"
    PC = "pc"
    MICROVM = "microvm"

    @classmethod
    def of(cls, machine_type: str) -> BoardKind:
        """The kind of a machine type, versioned (``pc-q35-7.2``) or not; what has another name counts as a ``pc``."""
        if machine_type.startswith("microvm"):
            return cls.MICROVM
        if machine_type.startswith(("q35", "pc-q35")):
            return cls.Q35
        return cls.PC
