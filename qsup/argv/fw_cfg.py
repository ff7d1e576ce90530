"""Files that the guest finds at the firmware's configuration device: the administrator's, and credentials."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from qsup.argv.files import WriteFile
from qsup.argv.invocation import Option
from qsup.argv.quote import pairs, sourced
from qsup.errors import SpecError
from qsup.spec.tables.credential import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.files import File
    from qsup.spec.tables.fw_cfg import FwCfg


def options(draft: Draft) -> Iterator[Option]:
    """Each `[fw-cfg.ID]`."""
    for name, item in draft.spec.fw_cfg.items():
        yield from sourced(("fw-cfg", name), [Option("-fw_cfg", _item(name, item))])


def credentials(draft: Draft) -> Iterator[Option]:
    """Each `[credential.ID]`, as a file in any case: a command line is for everybody to read."""
    for name, credential in draft.spec.credential.items():
        path = credential.file if credential.text is None else _text_file(draft, name)
        if path is None:
            raise SpecError(f"credential.{name} needs `file` or `text`")
        value = pairs(name=PREFIX + (credential.name or name), file=path)
        yield from sourced(("credential", name), [Option("-fw_cfg", value)])


def files(draft: Draft) -> Iterator[File]:
    """What the texts of credentials are handed over in."""
    for name, credential in draft.spec.credential.items():
        if credential.text is not None:
            yield WriteFile(_text_file(draft, name), credential.text, ("credential", name))


def _item(name: str, item: FwCfg) -> str:
    own = item.name or f"opt/qsup/{name}"
    if item.text is not None:
        return pairs(name=own, string=item.text)
    if item.file is not None:
        return pairs(name=own, file=item.file)
    raise SpecError(f"fw-cfg.{name} needs `text` or `file`")


def _text_file(draft: Draft, name: str) -> str:
    return posixpath.join(draft.context.run_dir, f"credential-{name}")
