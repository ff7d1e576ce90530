"""What words of a kind there are, here and now: guests, bundles, profiles, keys; for shells that complete words.

The daemon is asked where it knows, and the files are read where that is enough. Whoever presses TAB wants neither to
wait nor to be told what is wrong: the daemon has little time, and what cannot be found out is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qsup import paths
from qsup.cli import fast
from qsup.cli.offer import DIRECTORIES, FILES
from qsup.control.client import Client
from qsup.errors import QsupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qsup.cli.grammar import Situation
    from qsup.cli.offer import Offer

PATIENCE: Final = 1.0
"""How long the daemon may take to answer, in seconds."""


class Offers:
    """The words that may stand in one situation."""

    def __init__(self, situation: Situation) -> None:
        self._given = situation.given
        self._typed = situation.typed

    def of(self, kind: str) -> Iterable[Offer]:
        """All words of a kind, by the name that the help has for it; not all of them go on with what was typed."""
        return KINDS[kind](self)

    def guests(self) -> Iterable[Offer]:
        """The guests that the daemon has, but for those that are named already."""
        for guest in self._ask("query-guests"):
            if guest["name"] not in self._given.get("guests", ()):
                yield guest["name"], ", ".join(filter(None, (guest["phase"], guest["description"])))

    def new_guests(self) -> Iterable[Offer]:
        """The beginnings of instances' names."""
        return ((f"{stem}@", "an instance of this template") for stem in self._stems("guests", "@"))

    def serials(self) -> Iterable[Offer]:
        """The serial ports of the guest that is named."""
        for guest in self._ask("query-guest", names=self._given.get("guests", [])):
            yield from ((serial, f"serial port of {guest['name']}") for serial in guest["serials"])

    def bundles(self) -> Iterable[Offer]:
        """The bundles of abnormal ends, and what stands for the newest."""
        yield "latest", "the newest bundle"
        for bundle in self._ask("query-crashes"):
            yield bundle["id"], f"{bundle['guest']}: {bundle['cause']}"

    def alerts(self) -> Iterable[Offer]:
        """The alerts of ``qsup.toml``."""
        from qsup.spec.load import load

        return ((alert.name, "alert") for alert in load(self._config()).daemon.alert)

    def profiles(self) -> Iterable[Offer]:
        """The profiles that a new guest may take."""
        return ((stem, "profile") for stem in self._stems("profiles"))

    def keys(self) -> Iterable[Offer]:
        """The keys and tables that may be explained."""
        from qsup.cli.key_offers import explained

        return explained(self._typed)

    def assignments(self) -> Iterable[Offer]:
        """The keys that may be set of the guest that is named, then the values of the key."""
        from qsup.cli.key_offers import assignable
        from qsup.spec.load import load

        name = "".join(self._given.get("guests", ()))
        return assignable(self._typed, load(self._config()).guests.get(name))

    def nothing(self) -> Iterable[Offer]:
        """Only whoever types knows."""
        return ()

    def files(self) -> Iterable[Offer]:
        """The shell knows."""
        return ((FILES, ""),)

    def directories(self) -> Iterable[Offer]:
        """The shell knows."""
        return ((DIRECTORIES, ""),)

    def _ask(self, command: str, **arguments: Any) -> Any:
        """What the daemon answers to a question whose answer is a list; nothing if it does not."""
        path = next(iter(self._given.get("socket", ())), None) or fast.socket_path()
        try:
            if path is not None:
                with Client(path, PATIENCE) as daemon:
                    return daemon.call(command, arguments, PATIENCE)
        except QsupError:
            pass
        return []

    def _config(self) -> Path:
        """The configuration directory: the one named, the daemon's, or the default."""
        named = self._given.get("config")
        if named:
            return Path(named[0])
        version = self._ask("query-version")
        return Path(version["config"]) if version else paths.default_paths().config

    def _stems(self, folder: str, ending: str = "") -> list[str]:
        files = (self._config() / folder).glob(f"*{ending}.toml")
        return sorted(file.name.removesuffix(f"{ending}.toml") for file in files)


KINDS: Final[dict[str, Callable[[Offers], Iterable[Offer]]]] = {
    "GUEST": Offers.guests,
    "NEW-GUEST": Offers.new_guests,
    "SERIAL": Offers.serials,
    "BUNDLE": Offers.bundles,
    "ALERT": Offers.alerts,
    "PROFILE": Offers.profiles,
    "KEY": Offers.keys,
    "KEY=VALUE": Offers.assignments,
    "FILE": Offers.files,
    "PATH": Offers.files,
    "WORD": Offers.files,
    "DIR": Offers.directories,
    "NAME": Offers.nothing,
    "COMMAND": Offers.nothing,
    "JSON": Offers.nothing,
    "TIME": Offers.nothing,
    "N": Offers.nothing,
}
"""Every kind of word that an option or a positional takes, as the help calls it."""
