"""How much of libvirt's own test domains comes over, and whether QEMU takes what comes out.

``DIR`` is `tests/qemuxmlconfdata` of libvirt's source. A test domain is a file ``NAME.xml`` that libvirt turns into
``NAME.CAPABILITIES.args``, a command line; domains that libvirt itself refuses have no such file. Both are imported:
the domain by `qsup import libvirt`, the command line by `qsup import qemu`.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import LaunchContext
from qsup.errors import QsupError, SpecError
from qsup.guest.prepare import prepare
from qsup.importer.draft import Severity
from qsup.importer.libvirt import domain
from qsup.importer.qemu import line
from qsup.importer.settle import settle
from qsup.spec.codec import decode_hook
from qsup.spec.model import GuestSpec
from qsup.spec.tables.disk import DiskFormat
from tests.bench import standins
from tests.functional import nbd
from tests.functional.peers import with_peers
from tests.functional.test_argv_accepted import TOKEN, Launched, make_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.importer.settle import Imported

OURS: Final = re.compile(r"(?P<name>.+)\.(?P<capabilities>(x86_64|i386)-[^/]*)\.args")
SHOWN: Final = 25
"""How many of the most frequent reasons are printed."""
BARE: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|/[^ ,]*")


def measure(directory: Path, binary: str, verbose: bool = False) -> None:
    """Print the shares of both ways."""
    lines = sorted(path for path in directory.iterdir() if OURS.fullmatch(path.name))
    if not lines:
        raise SystemExit(
            f"there are no command lines of PCs in {directory}: is it tests/qemuxmlconfdata of libvirt?"
        )
    names = sorted({OURS.fullmatch(path.name)["name"] for path in lines})  # type: ignore[index]
    domains = [file for name in names if (file := directory / f"{name}.xml").exists()]
    _way("libvirt domains", domains, _from_domain, binary, verbose)
    _way("command lines", lines, _from_line, binary, verbose)


def _from_domain(path: Path) -> Imported:
    return settle(domain.draft_of(path.read_bytes()))


def _from_line(path: Path) -> Imported:
    return settle(line.draft_of(shlex.split(path.read_text().replace("\\\n", " "))))


def _way(what: str, files: list[Path], read: Callable[[Path], Imported], binary: str, verbose: bool) -> None:
    shares: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for path in files:
        try:
            guest = read(path)
        except SpecError as error:
            shares["refused"] += 1
            lost[f"refused: {BARE.sub('…', str(error))}"] += 1
            continue
        shares["without loss" if guest.is_whole else "with loss, told"] += 1
        if not guest.notes:
            shares["(of these without any note)"] += 1
        lost.update({_class(note.what, note.why) for note in guest.notes if note.severity is Severity.LOST})
        answer = accepted(guest, binary)
        tried[answer] += 1
        if verbose and answer != "accepted" and not answer.startswith("not tried"):
            print(f"  {path.name}: {answer}", flush=True)
    total = len(files)
    print(f"{what}: {total}")
    for share, count in shares.most_common():
        print(f"  {count:5} {100 * count / total:5.1f} %  {share}")
    out_of = sum(count for answer, count in tried.items() if not answer.startswith("not tried"))
    print(f"  argv of what came out, tried on {binary}: {out_of}")
    for answer, count in tried.most_common():
        print(f"  {count:5} {100 * count / max(out_of, 1):5.1f} %  {answer}")
    print("  what is lost most often:")
    for why, count in lost.most_common(SHOWN):
        print(f"  {count:5}  {why}")


def _class(what: str, why: str) -> str:
    return f"{BARE.sub('…', what)[:50]}: {BARE.sub('…', why)[:90]}"


def accepted(guest: Imported, binary: str) -> str:
    """``accepted``, or why QEMU did not take the guest's command line; with stand-ins for what is not here."""
    missing = standins.unavailable(guest.table)
    if missing:
        return f"not tried: it needs {missing}"
    root = Path(tempfile.mkdtemp(prefix="qsup-import-"))
    try:
        return _start(guest, binary, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _start(guest: Imported, binary: str, root: Path) -> str:
    table = standins.with_stand_ins(guest.table, root)
    spec = msgspec.convert({**table, "name": guest.name}, GuestSpec, strict=True, dec_hook=decode_hook("/"))
    run_dir = root / "run"
    run_dir.mkdir()
    with ExitStack() as cleanup:
        spec = with_peers(spec, cleanup)
        spec = _with_exports(spec, root, cleanup)
        context = LaunchContext(TOKEN, str(run_dir), str(root))
        try:
            invocation = build(spec, HostFacts(binary, kvm=True), context)
            asyncio.run(prepare(invocation.files, binary))
        except QsupError as error:
            return f"refused by qsup: {BARE.sub('…', str(error))}"
        try:
            launched = cleanup.enter_context(Launched(invocation, run_dir, standins.wrapper(spec)))
            launched.greet()
            launched.execute("quit")
        except (AssertionError, KeyError) as error:
            return f"refused by QEMU: {_last_words(str(error))}"
    return "accepted"


def _with_exports(spec: GuestSpec, root: Path, cleanup: ExitStack) -> GuestSpec:
    """Serve an image wherever the guest looks for an NBD export."""
    disks = {}
    for key, disk in spec.disk.items():
        if disk.nbd is not None:
            image = root / f"{key}.export"
            make_image(str(image), disk.format)
            socket = f"nbd+unix:///{key}?socket={root}/{key}.nbd"
            disks[key] = msgspec.structs.replace(disk, nbd=nbd.serve(socket, image, DiskFormat.RAW, cleanup))
    return msgspec.structs.replace(spec, disk={**spec.disk, **disks})


def _last_words(said: str) -> str:
    lines = [text for text in said.splitlines() if "warning:" not in text and text.strip()]
    return BARE.sub("…", re.sub(r"^.*qemu-system-x86_64: ", "", lines[0] if lines else said))[:140]
