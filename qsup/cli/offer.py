"""A word that a shell may complete with."""

from __future__ import annotations

from typing import Final

Offer = tuple[str, str]
"""A word, and what is said of it."""

FILES: Final = ":files"
DIRECTORIES: Final = ":directories"
"""Stand for what a shell completes by itself."""
