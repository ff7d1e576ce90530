"""What a guest file says, as types: each setting is declared here once, and nowhere else.

The declaration gives the key (in kebab case), its type, its default and its description; the parser, the checks
of types and ranges, the reference in the README and the comparison of two specs are all derived from it. A spec
is immutable, holds no defaults of the host, and does no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, HostPath, Identifier, Section, Text, about, form
from qsup.spec.policy import RestartPolicy, Stop
from qsup.spec.tables.access import Access
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.alert import Alert
from qsup.spec.tables.balloon import Balloon
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.clock import Clock
from qsup.spec.tables.cloud_init import CloudInit
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import Cdrom, Disk
from qsup.spec.tables.display import Display
from qsup.spec.tables.drill import Drill
from qsup.spec.tables.fw_cfg import FwCfg
from qsup.spec.tables.hang import Hang
from qsup.spec.tables.health import Health
from qsup.spec.tables.hyperv import Hyperv
from qsup.spec.tables.input import Input
from qsup.spec.tables.iothread import IoThread
from qsup.spec.tables.keeping import Crashes, History
from qsup.spec.tables.limits import Limits
from qsup.spec.tables.machine import Machine
from qsup.spec.tables.memory import Memory
from qsup.spec.tables.metrics import Metrics
from qsup.spec.tables.nic import Nic
from qsup.spec.tables.numa import Numa
from qsup.spec.tables.panic import Panic
from qsup.spec.tables.parallel import Parallel
from qsup.spec.tables.passthrough import PciDevice, UsbDevice, UsbRedirect
from qsup.spec.tables.qemu import RUN_AS, Qemu, wrong_user
from qsup.spec.tables.ready import Ready
from qsup.spec.tables.rng import Rng
from qsup.spec.tables.serial import Serial
from qsup.spec.tables.share import Share
from qsup.spec.tables.smbios import Smbios
from qsup.spec.tables.sound import Sound
from qsup.spec.tables.throttle import Throttle
from qsup.spec.tables.tpm import Tpm
from qsup.spec.tables.video import Video
from qsup.spec.tables.vsock import Vsock
from qsup.spec.tables.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = form(
    r"^(?![^@]*@($|.*@))[A-Za-z][A-Za-z0-9_.@-]{0,47}$(?!\n)",
    "a letter, then up to 47 letters, digits, or any of _ . -, with one @ before the instance of a template",
)
"""Names of guests: also file names, lock names and parts of socket names."""

UUID: Final = form(
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)",
    "a UUID is 8, 4, 4, 4 and 12 hexadecimal digits in lower case with hyphens between them",
)


class GuestSpec(Section, frozen=True, kw_only=True):
    """One guest. ``name`` is the file's name without `.toml`; it is not a key."""

    not_in_files = frozenset({"name"})
    name: Annotated[str, NAME]
    description: Annotated[Text, about("For people.")] = ""
    profile: Annotated[
        tuple[str, ...],
        about("Profiles merged in this order, tables key by key; this file wins.", max_length=32),
    ] = ()
    autostart: Annotated[
        bool,
        about(
            "Whether a guest that no operator has started or stopped yet is started with the daemon. Afterwards the operator's last word counts."
        ),
    ] = False
    after: Annotated[
        tuple[str, ...],
        about(
            "Guests that this one waits for: it starts when they are ready, and stops before them.",
            max_length=256,
        ),
    ] = ()
    uuid: Annotated[
        Annotated[str, UUID] | None,
        about("The machine's UUID. Without it one is derived from the guest's name.", qemu="-uuid"),
    ] = None
    machine: Machine = Machine()
    cpu: Cpu = Cpu()
    numa: dict[Identifier, Numa] = {}
    hyperv: Hyperv = Hyperv()
    memory: Memory = Memory()
    balloon: Balloon = Balloon()
    boot: Boot = Boot()
    disk: dict[Identifier, Disk] = {}
    cdrom: dict[Identifier, Cdrom] = {}
    cloud_init: CloudInit | None = None
    throttle: dict[Identifier, Throttle] = {}
    iothread: dict[Identifier, IoThread] = {}
    nic: dict[Identifier, Nic] = {}
    serial: dict[Identifier, Serial] = {}
    parallel: dict[Identifier, Parallel] = {}
    display: Display = Display()
    video: Video = Video()
    input: Input = Input()
    sound: Sound = Sound()
    vsock: Vsock = Vsock()
    rng: Rng = Rng()
    tpm: Tpm = Tpm()
    share: dict[Identifier, Share] = {}
    agent: Agent = Agent()
    watchdog: Watchdog = Watchdog()
    panic: Panic = Panic()
    usb: dict[Identifier, UsbDevice] = {}
    usb_redirect: dict[Identifier, UsbRedirect] = {}
    pci: dict[Identifier, PciDevice] = {}
    smbios: Smbios = Smbios()
    fw_cfg: dict[Identifier, FwCfg] = {}
    credential: dict[Identifier, Credential] = {}
    clock: Clock = Clock()
    ready: Ready = Ready()
    health: Annotated[tuple[Health, ...], Meta(max_length=32)] = ()
    hang: Hang = Hang()
    drill: Drill = Drill()
    restart: RestartPolicy = RestartPolicy()
    stop: Stop = Stop()
    limits: Limits = Limits()
    qemu: Qemu = Qemu()


LIVE_KEYS: Final = (
    "description", "profile", "autostart", "after", "ready", "health", "hang", "drill", "restart", "stop",
    "limits",
)  # fmt: skip
"""Keys that take effect without a restart of the guest: the supervisor or the kernel reads them, QEMU does not."""
LAUNCH_KEYS: Final = (
    "restart.on.guest-reset", "restart.on.triple-fault", "restart.on.guest-panic", "restart.on.watchdog",
    "limits.slice", "limits.numa-policy", "limits.numa-mask",
)  # fmt: skip
"""Keys below those that count only as QEMU starts."""


class DaemonConfig(Section, frozen=True, kw_only=True):
    """The daemon's own file, `qsup.toml`."""

    qemu_binary: Annotated[HostPath, about("The QEMU for guests that name none.")] = HostPath(
        "/usr/bin/qemu-system-x86_64"
    )
    qemu_user: Annotated[
        Annotated[str, RUN_AS] | None,
        about(
            "The user that QEMU runs as for guests that name none: a name, a number, or a range of numbers, `70000-70999`, of which each guest gets one for itself. Without it `qsup-qemu`, where root's daemon finds such a user, else the daemon's own."
        ),
    ] = None
    swtpm: Annotated[HostPath | None, about("The TPM emulator; without it the `swtpm` in the PATH.")] = None
    virtiofsd: Annotated[
        HostPath | None,
        about(
            "The server of virtiofs shares; without it the one that `/etc/qemu/vhost-user` or `/usr/share/qemu/vhost-user` describes, else the one in `/usr/libexec`, `/usr/lib/qemu`, `/usr/lib` or the PATH."
        ),
    ] = None
    passt: Annotated[
        HostPath | None, about("The network of NICs of type `passt`; without it the `passt` in the PATH.")
    ] = None
    sendmail: Annotated[
        HostPath | None,
        about("What the e-mail of alerts is handed to; without it the `sendmail` in the PATH."),
    ] = None
    parallel_starts: Annotated[
        int,
        about("How many guests may be starting at one moment when all are started.", ge=1, le=256),
    ] = 4
    watch: Annotated[
        bool,
        about(
            "Whether a change in the configuration directory is read at once (inotify), without `qsup reload`."
        ),
    ] = True
    scopes: Annotated[
        bool,
        about(
            "Whether each guest runs in a scope of its own where systemd runs: `qsup-NAME.scope`. Without it no guest can have limits."
        ),
    ] = True
    machined: Annotated[
        bool,
        about("Whether `machinectl list` shows the guests, where systemd-machined is installed."),
    ] = True
    crashes: Crashes = Crashes()
    history: History = History()
    metrics: Metrics = Metrics()
    access: Annotated[tuple[Access, ...], Meta(max_length=256)] = ()
    alert: Annotated[tuple[Alert, ...], Meta(max_length=64)] = ()

    def wrong(self) -> Iterator[Finding]:
        """Two alerts of one name, which messages could not tell apart, and users that cannot be."""
        if self.qemu_user is not None:
            yield from wrong_user("qemu-user", self.qemu_user)
        names = [alert.name for alert in self.alert]
        for number, name in enumerate(names):
            if name in names[:number]:
                yield ("alert", number, "name"), f'the name "{name}" is taken by another alert'
