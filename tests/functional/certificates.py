"""Certificates for a display and its viewers, made with the command `openssl`."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def make(directory: Path) -> None:
    """An authority, and what it has signed for a server and for a client; skips where `openssl` is not installed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory.mkdir(exist_ok=True)
    new = "-newkey rsa:2048 -nodes -days 7"
    _openssl(directory, f"req -x509 {new} -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem")
    for name in ("server", "client"):
        _openssl(directory, f"req {new} -subj /CN={name} -keyout {name}-key.pem -out {name}.csr")
        signed_by = "-CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 7"
        _openssl(directory, f"x509 -req -in {name}.csr {signed_by} -out {name}-cert.pem")


def viewer(directory: Path, *, known: bool = False) -> ssl.SSLContext:
    """A viewer that trusts the authority; with a certificate of its own, if it is to be ``known``."""
    context = ssl.create_default_context(cafile=directory / "ca-cert.pem")
    context.check_hostname = False
    if known:
        context.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem")
    return context


def _openssl(directory: Path, words: str) -> None:
    command = ["openssl", *words.split()]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, stdin=subprocess.DEVNULL)
