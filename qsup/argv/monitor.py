"""The QMP monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import QMP_FILE, Option
from qsup.argv.quote import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The chardev's id holds the launch's token, by which the process is recognised."""
    name = f"qsup-{draft.context.token}"
    yield Option("-chardev", draft.socket(name, QMP_FILE))
    yield Option("-mon", pairs(chardev=name, mode="control"))
