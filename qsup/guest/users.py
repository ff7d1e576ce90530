"""The user that each guest's QEMU runs as, and the numbers that guests have of their own."""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from qsup.errors import LaunchError, RecordError
from qsup.guest.record import UsersRecord, read_users, write
from qsup.preflight.account import runs_as

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from qsup.proc.account import Account
    from qsup.spec.model import GuestSpec

log = logging.getLogger(__name__)


class Users:
    """Knows who QEMUs run as. ``file`` is the record; all may be called from any thread."""

    def __init__(self, file: Path) -> None:
        self.usual: str | None = None
        """What ``qsup.toml`` says of guests whose files say nothing."""
        self._file = file
        self._lock = threading.Lock()
        self._uids = self._read()

    def of(self, spec: GuestSpec) -> Account | None:
        """Who this guest's QEMU is to run as; None for the daemon's own user. Raises LaunchError.

        A guest that gets a number out of a range keeps it.
        """
        return runs_as(spec, self.usual, partial(self._own, spec.name))

    def _own(self, name: str, numbers: range) -> int:
        with self._lock:
            found = own(name, self._uids, numbers)
            if found is None:
                raise LaunchError(
                    f"qemu.user: each of the {len(numbers)} users from {numbers[0]} to {numbers[-1]} has a guest"
                )
            if self._uids.get(name) != found:
                try:
                    self._write({**self._uids, name: found})
                except OSError as error:
                    what = f"which user the guest has cannot be written to {self._file}"
                    raise LaunchError(f"{what}: {error.strerror}") from error
            return found

    def forget(self, name: str) -> None:
        """The guest is gone for good, and another one may have its number, if that can be written down."""
        with self._lock, contextlib.suppress(OSError):
            if name in self._uids:
                self._write({other: uid for other, uid in self._uids.items() if other != name})

    def _read(self) -> dict[str, int]:
        try:
            written = read_users(self._file)
        except RecordError as error:
            log.warning("%s", error)
            return {}
        return written.uids if written is not None else {}

    def _write(self, uids: dict[str, int]) -> None:
        write(self._file, UsersRecord(uids=uids))
        self._uids = uids


def own(name: str, uids: dict[str, int], numbers: Collection[int]) -> int | None:
    """The number of a guest: the one that it has, as long as it is of the range, or the lowest that nobody has."""
    if uids.get(name) in numbers:
        return uids[name]
    taken = {uid for other, uid in uids.items() if other != name}
    return next((number for number in numbers if number not in taken), None)
