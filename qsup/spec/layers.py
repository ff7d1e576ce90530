"""The files that one guest is made of, and how they are laid over each other.

As with systemd's units (systemd.unit(5)) ``web@.toml`` is a template, which is no guest by itself; a guest ``web@1``
is there as soon as there is ``web@1.toml``, be it a link to the template or a file of its own, or a directory
``web@1.toml.d``. What is more specific wins, key by key: profiles, template, the template's drop-ins, own file, own
drop-ins. That differs from systemd in two places, where an instance would lose what its template says: there a
file of its own hides the template, and the drop-ins of both are sorted into one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsup.spec.problem import Problem, nearest, printable, shown
from qsup.spec.specifiers import instance_of, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qsup.spec.document import Document, Sources
    from qsup.spec.files import Folder


def is_template(stem: str) -> bool:
    """Whether a file of this name declares no guest, but what its instances have in common."""
    return stem.endswith("@") and stem.count("@") == 1


class Layers:
    """The guests of a folder, and the files of each. Templates are read once for all their instances."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._templates = {stem: folder.read(stem) for stem in folder.stems if is_template(stem)}
        self._shared = {stem: folder.read_dropins(stem) for stem in self._templates}
        self._own = {stem for stem in folder.stems if stem not in self._templates}
        added = {stem for stem in folder.dropins if template_of(stem) in self._templates}
        self.names = sorted(self._own | added - {*self._templates})
        """All guests."""

    def file(self, name: str) -> str:
        """The file of a guest, relative to the configuration directory: its own, or the template's."""
        return self._folder.file(name if name in self._own else template_of(name))

    def problems(self) -> Iterator[Problem]:
        """What no guest can be blamed for: templates that cannot be read, drop-ins that add to nothing."""
        for template in (*self._templates.values(), *(one for some in self._shared.values() for one in some)):
            if isinstance(template, Problem):
                yield template
        for stem in self._folder.dropins:
            if stem not in self.names and stem not in self._templates:
                what = printable(self._folder.file(stem))
                yield Problem(f"{what}.d", None, "", f"there is no {what} that it could add to")

    def documents(self, name: str) -> tuple[list[Document | Problem], int]:
        """What a guest's files say, the weakest first, and which of them is its main one."""
        template = template_of(name)
        layers: list[Document | Problem] = []
        main = 0
        if template in self._templates:
            layers = [self._templates[template], *self._shared[template]]
        if name in self._own and not (layers and self._folder.is_link_to(name, template)):
            main = len(layers)
            layers.append(self._folder.read(name))
        if name in self._folder.dropins:
            layers += self._folder.read_dropins(name)
        return layers, main


def template_of(name: str) -> str:
    """The name of the file that an instance's template has; the empty text for a guest that is no instance."""
    prefix, instance = instance_of(name)
    return f"{prefix}@" if instance else ""


def profiles_of(
    table: dict[str, Any], name: str, known: Mapping[str, Document | Problem], sources: Sources
) -> tuple[tuple[Document, ...], list[Problem]]:
    """The profiles that a guest's own files name, in order; ``known`` are all there are."""
    names, wrong = resolve(table.get("profile", []), name, ("profile",))
    if wrong:
        return (), [sources.problem(*finding) for finding in wrong]
    if not isinstance(names, list) or not all(isinstance(word, str) for word in names):
        hint = f"; write [{shown(names)}]" if isinstance(names, str) else ""
        return (), [sources.problem(("profile",), f"must be an array of names, not {shown(names)}{hint}")]
    found: list[Document] = []
    problems: list[Problem] = []
    for number, word in enumerate(names):
        profile = known.get(word)
        if profile is None:
            told = f"there is no profile {shown(word)} in profiles/{nearest(word, known)}"
            problems.append(sources.problem(("profile", number), told))
        elif isinstance(profile, Problem):
            problems.append(profile)
        elif "profile" in profile.table:
            told = "a profile cannot name profiles; name all in the guest's file"
            problems.append(profile.problem(("profile",), told))
        else:
            found.append(profile)
    return tuple(found), problems


def merged(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Tables laid over each other, the weakest first: merged key by key, all else is replaced. None is changed."""
    result: dict[str, Any] | None = None
    for table in tables:
        result = table if result is None else _over(result, table)
    return result or {}


def _over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
