"""``qsup crash``: one bundle of an abnormal end, shown, or put into an archive to hand on."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import sys
import tarfile
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qsup.cli.output import show, show_json
from qsup.cli.reply import show_text
from qsup.errors import QsupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from qsup.cli.arguments import Options
    from qsup.control.client import Client

STDOUT = "-"


def crash(daemon: Client, options: Options) -> int:
    """Do what the kind of the command says."""
    if options.kind == "export":
        return _export(daemon, options)
    if options.json:
        show_json(daemon.call("query-crash", {"id": options.id}))
        return 0
    return show_text(daemon.call("query-crash", {"id": options.id, "format": "text"}))


def _export(daemon: Client, options: Options) -> int:
    facts = daemon.call("query-crash", {"id": options.id})
    if options.output == STDOUT:
        if options.json:
            raise UsageError("the archive itself goes to standard output: there is no place for JSON")
        _archive(daemon, facts, sys.stdout.buffer)
        return 0
    path = options.output or f"{facts['id']}.tar.gz"
    with _new_file(path) as file:
        _archive(daemon, facts, file)
    if options.json:
        show_json({"id": facts["id"], "file": path})
    else:
        show(f"{path}\n")
    return 0


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[BinaryIO]:
    """A file that nobody else can read and that was not there; if something fails it is not there again."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise QsupError(f"{path} is there already; name another file with -o") from None
    except OSError as error:
        raise QsupError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with open(fd, "wb") as file:
            yield file
    except OSError as error:
        os.unlink(path)
        raise QsupError(f"{path} cannot be written: {error.strerror}") from error
    except BaseException:
        os.unlink(path)
        raise


def _archive(daemon: Client, facts: dict[str, Any], file: BinaryIO) -> None:
    """Write a tar archive, compressed with gzip: a directory with the bundle's name, and its files in that."""
    written = datetime.fromisoformat(facts["at"]).timestamp()
    with tarfile.open(fileobj=file, mode="w|gz") as archive:
        for name in facts["files"]:
            data = _content(daemon, facts["id"], name)
            member = tarfile.TarInfo(f"{facts['id']}/{os.path.basename(name)}")
            member.size, member.mtime, member.mode = len(data), written, 0o600
            archive.addfile(member, io.BytesIO(data))


def _content(daemon: Client, id_: str, name: str) -> bytes:
    data = bytearray()
    while piece := _piece(daemon, {"id": id_, "file": name, "offset": len(data)}):
        data += piece
    return bytes(data)


def _piece(daemon: Client, where: dict[str, Any]) -> bytes:
    return base64.b64decode(daemon.call("crash-read", where)["data"])
