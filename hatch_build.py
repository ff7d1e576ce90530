"""The build of the wheel: the manual pages are written then, and go where pip and pipx put what is shared."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Manual(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the manual pages. A checkout that is only linked to (``pip install -e``) has none."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages, beside the checkout."""
        if version == "editable":
            return
        self._written = tempfile.TemporaryDirectory()
        # In this process: what a build may import is not always passed on to its children.
        sys.path[:0] = [self.root, os.path.join(self.root, "scripts")]
        runpy.run_path(os.path.join(self.root, "scripts/manual"))["write"](Path(self._written.name))
        for page in os.listdir(self._written.name):
            section = page.rpartition(".")[2]
            build_data["shared_data"][os.path.join(self._written.name, page)] = (
                f"share/man/man{section}/{page}"
            )

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """They are in the wheel now."""
        if version != "editable":
            self._written.cleanup()
