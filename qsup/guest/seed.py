"""Makes the seed of cloud-init: a small ISO 9660 file system with the label ``cidata``."""

from __future__ import annotations

import io
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from qsup.argv.seed import seed
from qsup.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.argv.files import SeedImage

LABEL: Final = "cidata"
"""By which cloud-init finds it."""
LIMIT: Final = 1 << 20
"""Bytes of a file that goes into the seed."""
HASH: Final = re.compile(r"[!-9;-~]{13,}")
"""What crypt(5) prints; a password itself would be shorter, as a rule."""


def make_seed(image: SeedImage, path: str) -> None:
    """Write the seed to a new file, for its owner only. Raises LaunchError or OSError; no message shows a content."""
    wanted = image.cloud_init
    given = {
        "user_data": None if wanted.user_data is None else _read(wanted.user_data),
        "network_config": None if wanted.network_config is None else _read(wanted.network_config),
    }
    password = None if wanted.password_hash_file is None else _password_hash(wanted.password_hash_file)
    data = iso(seed(image.guest, wanted, password_hash=password, **given))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)


def iso(files: Mapping[str, bytes]) -> bytes:
    """A file system with these files, by names that Linux and others see."""
    # Few guests have a seed, and to import it takes longer than to make one.
    import pycdlib

    image, out = pycdlib.PyCdlib(), io.BytesIO()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (name, data) in enumerate(files.items()):
        mode, content = stat.S_IFREG | 0o400, io.BytesIO(data)
        image.add_fp(content, len(data), f"/F{number}.;1", name, f"/{name}", file_mode=mode)
    image.write_fp(out)
    image.close()
    return out.getvalue()


def _read(path: str) -> bytes:
    """A file that goes into the seed. Anything but a regular one might never come to an end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LaunchError(f"{path} is no regular file")
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise LaunchError(f"{path} has more than {LIMIT} bytes")
    return data


def _password_hash(path: str) -> str:
    text = _read(path).decode("ascii", errors="replace").strip()
    if not HASH.fullmatch(text):
        raise LaunchError(f"{path} does not hold the hash of a password alone; `mkpasswd` prints one")
    return text
