"""``qsup new``: the file of a new guest, or one more instance of a template."""

from __future__ import annotations

import os
import textwrap
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from qsup.cli.change import OVERRIDE, Change, Target, alone, refuse, tell, write
from qsup.cli.output import show
from qsup.cli.place import directory
from qsup.errors import QsupError, UsageError
from qsup.spec.assign import Assignment, assigned, assignment
from qsup.spec.keys import tables
from qsup.spec.layers import is_template, template_of
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from qsup.spec.toml import dotted_key, value
from qsup.spec.words import default

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.cli.arguments import Options
    from qsup.spec.keys import Key, Table

WIDTH: Final = 100
SUGGESTED: Final = (
    "description",
    "autostart",
    "after",
    "machine.firmware",
    "cpu.count",
    "memory.size",
    "disk.ID.file",
    "nic.ID.type",
)
"""What most guests say something about; written as comments where nothing is set, so that it need not be looked up."""
IDS: Final = {"disk": "root", "nic": "lan"}
"""What the ids in them are called, for example."""


def new(options: Options) -> int:
    """Write the file, unless there is one or it would have a problem."""
    config = directory(options)
    name = options.guests[0]
    wanted = [assignment(word) for word in options.assignments]
    if os.sep in name:
        raise UsageError(f"{name!r} is no name of a guest")
    with alone(config):
        if os.path.lexists(config / f"guests/{name}.toml"):
            raise UsageError(
                f"{config}/guests/{name}.toml is there already; `qsup set` or `qsup edit` change it"
            )
        if (
            not is_template(name)
            and template_of(name)
            and (config / f"guests/{template_of(name)}.toml").exists()
        ):
            return _instance(options, config, name, wanted)
        file = Target(config, f"guests/{name}.toml")
        profiles = [Assignment(("profile",), options.profiles)] if options.profiles else []
        bare = assigned("", [*profiles, *wanted])
        spec = load(config, {file.file: bare.encode()}).guests.get(name)
        data = assigned(_head(config, name) + _suggestions(wanted, spec), [*profiles, *wanted])
        change = Change.of(file, data.encode())
        refuse(change.new_problems, "nothing was written")
        write(file, data.encode())
    tell(options, file, change)
    if not options.json and not is_template(name):
        show(f"`qsup start {name}` starts it{'' if change.then.daemon.watch else ' after a `qsup reload`'}\n")
    return 0


def _instance(options: Options, config: Path, name: str, wanted: list[Assignment]) -> int:
    """A link to the template, and a drop-in with what is set for this instance alone."""
    if options.profiles:
        raise UsageError(f"{name} takes the profiles of its template, guests/{template_of(name)}.toml")
    file = Target(config, f"guests/{name}.toml.d/{OVERRIDE}")
    if file.before is not None:
        raise UsageError(f"{file.path} is there already; `qsup set` or `qsup edit` change it")
    data = assigned("", wanted).encode()
    change = Change.of(file, data)
    refuse(change.new_problems, "nothing was written")
    if wanted:
        write(file, data)
    link = config / f"guests/{name}.toml"
    try:
        link.symlink_to(f"{template_of(name)}.toml")
    except OSError as error:
        raise QsupError(f"{link} cannot be made: {error.strerror}") from error
    tell(options, Target(config, f"guests/{name}.toml"), change)
    return 0


def _head(config: Path, name: str) -> str:
    schema = "#:schema ../guest.schema.json\n" if (config / "guest.schema.json").exists() else ""
    what = "Template of the guests" if is_template(name) else "The guest"
    return (
        f"{schema}# {what} {name}. `qsup explain KEY` tells of a key, `qsup check` whether all is right.\n#\n"
    )


def _suggestions(wanted: list[Assignment], spec: GuestSpec | None) -> str:
    """The usual keys that nothing was said about, as comments, with what they are by default or by the profiles."""
    said = {one.path[0] for one in wanted}
    lines = []
    for table in tables(GuestSpec):
        for key in table.keys:
            path = (*table.path, key.name)
            if ".".join(path) in SUGGESTED and path[0] not in said:
                shown = dotted_key(tuple(IDS[path[0]] if part == "ID" else part for part in path))
                usual = f"# {shown} = {_now(spec, table, key) or value('…')}"
                lines.append(
                    f"{usual:<32}# {textwrap.shorten(key.description, WIDTH - 34, placeholder=' …')}"
                )
    return "\n".join(["# Not set yet; as it is without:", *lines, "", ""]) if lines else ""


def _now(spec: GuestSpec | None, table: Table, key: Key) -> str | None:
    """What a key is without being set: a profile's word, or the default. A device that is not there has only that."""
    if spec is None or "ID" in table.path:
        return default(key)
    section = attrgetter(".".join(table.path))(spec) if table.path else spec
    return default(key._replace(default=getattr(section, key.field)))
