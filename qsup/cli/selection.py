"""Which guests the files on a command line are about: guest files, drop-ins, templates, profiles, ``qsup.toml``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.errors import UsageError
from qsup.spec.files import DROPINS, SUFFIX
from qsup.spec.layers import is_template, template_of
from qsup.spec.load import DAEMON_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.spec.load import Configuration

FOLDERS: Final = ("guests", "profiles")


def by_directory(files: Iterable[str], config: str | None) -> dict[Path, list[str]]:
    """The files as they are called in their configuration directories, which may be several.

    Without ``config`` that is where a file's place says that it is: above ``guests`` and ``profiles``, or beside
    ``qsup.toml``. Raises UsageError for what has no place in one, or is not there.
    """
    found: dict[Path, list[str]] = {}
    for file in files:
        if not os.path.isfile(file):
            raise UsageError(f"there is no file {file}")
        root, label = _place(file, config)
        found.setdefault(root, []).append(label)
    return found


def _place(file: str, config: str | None) -> tuple[Path, str]:
    # Links stay as they are: an instance may be a link to its template.
    path = Path(os.path.abspath(file))
    places = [parent.parent for parent in list(path.parents)[:2] if parent.name in FOLDERS]
    if path.name == DAEMON_FILE:
        places.insert(0, path.parent)
    for root in places:
        label = path.relative_to(root)
        if _has_place(label) and (config is None or os.path.samefile(root, config)):
            return root, str(label)
    where = config or "a configuration directory"
    raise UsageError(f"{file} is no guest file, drop-in, profile or {DAEMON_FILE} of {where}")


def _has_place(label: Path) -> bool:
    match label.parts:
        case (name,):
            return name == DAEMON_FILE
        case ("guests" | "profiles", name):
            return name.endswith(SUFFIX) and not name.startswith(".")
        case ("guests", folder, name):
            return folder.endswith(DROPINS) and name.endswith(SUFFIX) and not name.startswith(".")
        case _:
            return False


def guests_of(configuration: Configuration, labels: Iterable[str]) -> list[str]:
    """The guests that these files have a part in, sorted."""
    chosen: set[str] = set()
    for label in labels:
        folder, _, rest = label.partition("/")
        stem = rest.partition("/")[0].removesuffix(".d").removesuffix(SUFFIX)
        for name in configuration.files:
            if folder == "guests":
                concerned = name == stem or (is_template(stem) and template_of(name) == stem)
            else:
                concerned = label in _labels(configuration, name)
            if concerned:
                chosen.add(name)
    return sorted(chosen)


def _labels(configuration: Configuration, name: str) -> set[str]:
    """The files that a guest is made of, as far as they could be read."""
    sources = configuration.sources.get(name)
    known = {document.label for document in sources.documents} if sources is not None else set()
    return known | {problem.file for problem in configuration.problems_of(name)}
