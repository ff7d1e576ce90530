"""What guests of tests find on the host beside their images: files to be read, and places to write to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.functional import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.model import GuestSpec


def make_files(spec: GuestSpec) -> None:
    """Make all files that tables other than disks name; skips where a device of the host is not there."""
    for file in _read(spec):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("what a file holds\n")
    for parallel in spec.parallel.values():
        if parallel.file is not None:
            Path(parallel.file).parent.mkdir(exist_ok=True)
        if parallel.device is not None and not os.path.exists(parallel.device):
            pytest.skip(f"this host has no {parallel.device}")
    if spec.display.tls is not None:
        certificates.make(Path(spec.display.tls))
    if spec.display.password_file is not None:
        Path(spec.display.password_file).parent.mkdir(exist_ok=True)
        Path(spec.display.password_file).write_text("password\n")


def _read(spec: GuestSpec) -> Iterator[str]:
    files = [item.file for item in spec.fw_cfg.values()] + [item.file for item in spec.credential.values()]
    yield from (file for file in files if file is not None)
