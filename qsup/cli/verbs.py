"""The verbs of the command, in a table that costs nothing to import: the quick and the full path both read it."""

NONE, ANY, SOME, ONE = "none", "any", "some", "one"
"""How many guests a verb takes: none; any number, none meaning all; some, or ``--all``; exactly one."""


class Verb:
    """One verb: the command of the control socket that it is, empty if it needs no daemon, and what it takes."""

    __slots__ = ("acts", "command", "guests", "help", "quick")

    def __init__(
        self, command: str, guests: str, help_: str, *, acts: bool = False, quick: bool = False
    ) -> None:
        self.command = command
        self.guests = guests
        self.help = help_
        self.acts = acts
        """It does something to guests, so it can be waited for and must not be sent twice."""
        self.quick = quick
        """Its plain form, without options, is answered with text that the daemon has rendered."""


VERBS = {
    "list": Verb("query-guests", ANY, "show guests, a line each", quick=True),
    "status": Verb("query-guest", ANY, "show everything known about guests", quick=True),
    "why": Verb("guest-why", ANY, "tell how guests came to their phase, and what happens next", quick=True),
    "start": Verb(
        "guest-start", SOME, "start guests, and keep them running from now on", acts=True, quick=True
    ),
    "stop": Verb("guest-stop", SOME, "stop guests by their stop ladder", acts=True, quick=True),
    "restart": Verb("guest-restart", SOME, "stop guests and start them anew", acts=True, quick=True),
    "reset": Verb("guest-reset", SOME, "press the reset button of guests", acts=True, quick=True),
    "kill": Verb("guest-kill", SOME, "end guests at once; unwritten data is lost", acts=True, quick=True),
    "pause": Verb("guest-pause", SOME, "stop the vCPUs of guests", acts=True, quick=True),
    "resume": Verb("guest-resume", SOME, "let the vCPUs of guests run again", acts=True, quick=True),
    "maintenance": Verb(
        "guest-maintenance", SOME, "say that somebody works on guests, so that nobody is alarmed by it"
    ),
    "drill": Verb("guest-drill", ONE, "do to a guest what may happen some night, and compare with its file"),
    "console": Verb("guest-console", ONE, "attach the terminal to a serial port; Ctrl-] leaves"),
    "log": Verb("guest-log", ONE, "show what a guest printed on its serial port"),
    "events": Verb("query-events", ANY, "show what happened"),
    "crashes": Verb("query-crashes", ANY, "list the bundles that abnormal ends have left", quick=True),
    "crash": Verb("query-crash", NONE, "show or export such a bundle"),
    "alert": Verb("alert-test", NONE, "send a test message through an alert"),
    "history": Verb("query-history", ONE, "show how a guest did, and what happened to it, also long ago"),
    "argv": Verb("guest-argv", ONE, "show the command line that the next start would execute"),
    "qmp": Verb("guest-qmp", ONE, "pass a QMP command to a guest's QEMU"),
    "agent": Verb("guest-agent", ONE, "pass a command to a guest's agent"),
    "whoami": Verb("query-access", NONE, "show who you are to the daemon, and what you may do"),
    "check": Verb("check-config", NONE, "check guest files; needs no daemon"),
    "import": Verb(
        "",
        NONE,
        "make guest files of libvirt domains or a command line of QEMU; needs no daemon",
    ),
    "new": Verb("", ONE, "write the file of a new guest"),
    "set": Verb("", ONE, "change keys in a guest's file, which keeps its comments and its order"),
    "edit": Verb("", ONE, "edit a guest's file, which is checked before it is saved"),
    "explain": Verb("", NONE, "tell what a key of a guest's file is for, and its counterpart in QEMU"),
    "schema": Verb("", NONE, "print a JSON Schema of the files, for editors"),
    "completion": Verb("", NONE, "print a script that has a shell complete qsup's command lines"),
    "reload": Verb("reload-config", NONE, "read the configuration again"),
    "version": Verb("query-version", NONE, "show the versions of command and daemon"),
}
