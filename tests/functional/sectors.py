"""Assembles the four guests of ``sectors.S``, and starts them and other QEMUs for a watch to look at."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from qsup import endpoint
from qsup.proc.identity import Identity, identify
from qsup.qmp.session import QmpEvent, QmpSession
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    import socket

    from qsup.vitals.look import Session

SOURCE = Path(__file__).parent / "sectors.S"
SECTORS = {"idle": (1, 1), "busy": (1, 0), "resting": (0, 1), "spinning": (0, 0)}
"""Each with whether it takes interrupts and whether it rests."""


def assemble(directory: Path, name: str) -> Path:
    """One of the guests, as the image of a small disk."""
    image, part = directory / f"{name}.img", directory / f"{name}.o"
    interrupts, rest = SECTORS[name]
    symbols = ["--defsym", f"INTERRUPTS={interrupts}", "--defsym", f"REST={rest}"]
    subprocess.run(["as", "--32", *symbols, "-o", part, SOURCE], check=True)
    linking = ["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00"]
    subprocess.run([*linking, "-o", image, part], check=True)
    with image.open("r+b") as file:
        file.truncate(1 << 20)
    return image


def sector_options(image: Path, accel: str) -> list[str]:
    """QEMU's options for one of the guests."""
    return [
        *("-machine", "q35", "-accel", accel, "-m", "32"),
        *("-drive", f"file={image},format=raw,if=none,id=root,read-only=on"),
        *("-device", "virtio-blk-pci,drive=root"),
    ]


@dataclass
class Watched:
    """A QEMU with a session, as a watch wants its subject."""

    spec: GuestSpec
    identity: Identity
    process: subprocess.Popen[bytes]
    directory: Path
    serial: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    session: Session | None = None
    busy: bool = False
    greets: bool = False
    booted: float | None = None
    opened: list[QmpSession] = field(default_factory=list)

    @classmethod
    async def start(cls, binary: str, directory: Path, *options: str, spec: GuestSpec | None = None) -> Self:
        """Start QEMU and connect."""
        directory.mkdir(exist_ok=True)
        with endpoint.listen(directory, "qmp.sock") as qmp, endpoint.listen(directory, "serial") as serial:
            fds = [qmp.fileno(), serial.fileno()]
            ends = [await endpoint.connect(directory, name) for name in ("qmp.sock", "serial")]
            process = subprocess.Popen(  # noqa: ASYNC220 - as qsup does it, and it takes a millisecond
                [
                    binary,
                    *("-nodefaults", "-no-user-config", "-display", "none"),
                    *("-chardev", f"socket,id=qmp,fd={fds[0]},server=on,wait=off"),
                    *("-mon", "chardev=qmp,mode=control"),
                    *("-chardev", f"socket,id=serial,fd={fds[1]},server=on,wait=off"),
                    *("-serial", "chardev:serial"),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
            )
        made = cls(
            spec or msgspec.convert({"name": "guest"}, GuestSpec), identify(process.pid, ""), process,
            directory, await asyncio.open_connection(sock=ends[1]),
        )  # fmt: skip
        await made.open(ends[0])
        return made

    async def open(self, sock: socket.socket | None = None) -> QmpSession:
        """A session, the first or another."""
        sock = sock or await endpoint.connect(self.directory, "qmp.sock")
        session = await QmpSession.connect(sock, on_event=_ignore, on_lost=_ignore, deadline=30)
        self.opened.append(session)
        self.session = session
        return session

    async def prints(self, text: bytes) -> None:
        """Wait until the guest has printed a text."""
        async with asyncio.timeout(90):
            await self.serial[0].readuntil(text)

    async def end(self) -> None:
        """Kill it, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        self.serial[1].transport.abort()
        for session in self.opened:
            await session.close()


def _ignore(_: QmpEvent | str) -> None:
    return
