"""The build of the wheel: the manual pages are written then, and go where pip and pipx put what is shared."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Manual(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the manual pages. A checkout that is only linked to (``pip install -e``) has none."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages, beside the checkout."""
        if version == "editable":
            return
        self._written = tempfile.TemporaryDirectory()
        script = os.path.join(self.root, "scripts/manual")
        # What this build has been given to import is not always there for its children.
        path = os.pathsep.join([self.root, *filter(None, sys.path)])
        subprocess.run(
            [sys.executable, script, self._written.name], check=True, env={**os.environ, "PYTHONPATH": path}
        )
        for page in os.listdir(self._written.name):
            section = page.rpartition(".")[2]
            build_data["shared_data"][os.path.join(self._written.name, page)] = (
                f"share/man/man{section}/{page}"
            )

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """They are in the wheel now."""
        if version != "editable":
            self._written.cleanup()
