"""Debian's packages as a source of kernels and tools: downloaded and unpacked, never installed.

Needs apt-get and dpkg-deb, no root. apt-get checks the signatures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / ".cache/linux-guest"


class MissingError(Exception):
    """This host lacks something that a guest is made of; the message says what."""


class Packages:
    """The packages of one architecture, unpacked below ``.cache``."""

    def __init__(self, architecture: str = "amd64") -> None:
        self._foreign = architecture != "amd64"
        self._cache = CACHE / architecture if self._foreign else CACHE
        self._options: list[str] = []
        self._listed = not self._foreign
        if self._foreign:
            # Lists of its own: the host's apt need not know the architecture, and is not touched.
            own = {
                "APT::Architecture": architecture,
                "APT::Architectures::": architecture,
                "Dir::State": str(self._cache / "apt/state"),
                "Dir::State::status": "/dev/null",
                "Dir::Cache": str(self._cache / "apt/cache"),
            }
            self._options = [word for key, value in own.items() for word in ("-o", f"{key}={value}")]
        if os.geteuid() == 0:
            # As root, apt-get would first try to become a user who may not write here, and warn.
            self._options += ["-o", "APT::Sandbox::User=root"]

    def unpacked(self, package: str) -> Path:
        """The tree of a package, downloaded once. Raises MissingError."""
        tree = self._cache / package
        if not tree.is_dir():
            print(f"downloading the Debian package {package} into {self._cache.relative_to(ROOT)}")
            self._apt("apt-get", "-qq", "download", package)
            archive = next(self._cache.glob(f"{package}_*.deb"))
            partial = self._cache / f"{package}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            self._run("dpkg-deb", "-x", str(archive), str(partial))
            archive.unlink()
            partial.rename(tree)
        return tree

    def file(self, package: str, pattern: str) -> Path:
        """The file of a package whose path matches the glob. Raises MissingError."""
        found = next(self.unpacked(package).glob(pattern), None)
        if found is None:
            raise MissingError(f"the package {package} holds no {pattern}")
        return found

    def dependency(self, package: str, pattern: str) -> str:
        """The package that another one stands for, such as the newest kernel. Raises MissingError."""
        match = re.search(rf"Depends: ({pattern})", self._apt("apt-cache", "depends", package))
        if match is None:
            raise MissingError(f"apt knows no {package}")
        return match[1]

    def libraries(self, package: str) -> list[str]:
        """The packages of shared libraries that a package depends on, directly or not. Raises MissingError."""
        found: list[str] = []
        latest = [package]
        while latest:
            told = self._apt("apt-cache", "depends", *latest)
            latest = sorted({*re.findall(r"^  Depends: (lib\S+)$", told, re.MULTILINE)} - {*found})
            found += latest
        return found

    def _apt(self, command: str, *words: str) -> str:
        if not self._listed:
            for directory in ("apt/state/lists/partial", "apt/cache/archives/partial"):
                (self._cache / directory).mkdir(parents=True, exist_ok=True)
            # Some of a host's sources may have nothing for this architecture, which apt-get counts as a failure.
            self._run("apt-get", *self._options, "-qq", "update", fatal=False)
            self._listed = True
        return self._run(command, *self._options, *words)

    def _run(self, *command: str, fatal: bool = True) -> str:
        if shutil.which(command[0]) is None:
            raise MissingError(f"without {command[0]} there are no packages to be had")
        self._cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            command, cwd=self._cache, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0 and fatal:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise MissingError(f"{command[0]} failed (an apt-get update may help): {said}")
        return done.stdout
