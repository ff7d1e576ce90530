"""What a shell offers at TAB: every verb and option, and words that only the daemon or the files know."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

import pytest

from qsup.blackbox.shelf import Shelf
from qsup.cli.arguments import command_line
from qsup.cli.completion import SCRIPTS, offers, script
from qsup.cli.offer import DIRECTORIES, FILES
from qsup.cli.offers import KINDS
from qsup.cli.verbs import VERBS
from qsup.spec.tables.keeping import Crashes
from tests.fakes.control_bench import Bench, running_bench
from tests.fakes.crashes import crash
from tests.unit.test_cli_command import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as bench:
        monkeypatch.setenv("QSUP_SOCKET", bench.path)
        config = tmp_path / "config"
        bench.guests.version["config"] = str(config)
        for folder in ("guests", "profiles"):
            (config / folder).mkdir(parents=True)
        (config / "guests/web1.toml").write_text('profile = ["linux"]\n[disk.root]\nfile = "/x"\n')
        (config / "guests/job@.toml").write_text("")
        (config / "profiles/linux.toml").write_text("[serial.console]\n")
        yield bench


async def offered(words: str) -> list[str]:
    """What is offered for the last of the words, which is what follows the last blank."""
    # The server runs in this loop, so it is asked from a thread.
    return list(await asyncio.to_thread(offers, words.split(" ")))


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)
        else:
            yield action


def test_of_every_kind_of_word_it_is_known_what_it_may_be() -> None:
    taking = [action for action in actions(command_line()) if action.nargs != 0 and action.choices is None]
    assert {str(action.metavar) for action in taking} == set(KINDS)


async def test_verbs_and_options_come_from_the_command_itself(bench: Bench) -> None:
    assert await offered("") == list(VERBS)
    assert await offered("--json st") == ["status", "start", "stop"]
    assert await offered("-") == ["--help", "--socket", "--json", "--version"]
    assert await offered("stop web1 --w") == ["--wait"]
    assert await offered("stop --wait --w") == [], "an option is given once"
    assert await offered("new a --set x=1 --s") == ["--socket", "--set"], "but for those that add up"
    assert await offered("nonsense --") == ["--help", "--socket", "--json", "--version"]


async def test_a_drill_has_one_kind_and_a_place_for_one_guest(bench: Bench) -> None:
    assert {"--kill", "--panic", "--enospc"} < set(await offered("drill web1 "))
    assert await offered("drill web1 --panic --") == ["--help", "--socket", "--json", "--yes"]
    assert await offered("drill --panic we") == ["web1", "web2"]


async def test_guests_are_those_of_the_daemon_without_those_named_already(bench: Bench) -> None:
    assert await offered("start ") == ["db1", "web1", "web2"]
    assert await offered("start web1 ") == ["db1", "web2"]
    assert await offered("start --timeout 5s w") == ["web1", "web2"]
    assert await offered("start --timeout ") == []
    assert await offered("start -- w") == ["web1", "web2"]
    assert await offered("alert test --guest=d") == ["--guest=db1"]
    assert await offered("maintenance web1 ") == ["db1", "web2", "on", "off"]
    assert await offered("maintenance web1 on ") != ["on", "off"]
    assert await offered("new j") == ["job@"]


async def test_phase_and_description_are_told_of_a_guest(bench: Bench) -> None:
    assert (await asyncio.to_thread(offers, ["stop", "db"]))["db1"].startswith("stopped")


async def test_words_that_belong_to_a_guest_are_those_of_the_one_named(bench: Bench) -> None:
    assert await offered("console web1 --serial ") == list(bench.guests.view("web1").serials)
    assert await offered("console nobody --serial ") == []
    assert await offered("set web1 disk.") == ["disk.root."]
    assert await offered("set web1 serial.") == ["serial.console."], "a profile's count as well"
    assert await offered("set nobody disk.") == []


async def test_a_key_is_typed_part_by_part(bench: Bench) -> None:
    assert await offered("set web1 mach") == ["machine."]
    assert await offered("set web1 disk.root.cach") == ["disk.root.cache="]
    assert await offered("set web1 disk.root.cache=n") == ["disk.root.cache=none"]
    assert await offered("set web1 disk.root.read-only=") == [
        f"disk.root.read-only={word}" for word in ("true", "false")
    ]
    assert await offered("set web1 disk.root.file=") == [FILES]
    assert await offered("set web1 memory.size=") == []
    assert await offered("set web1 health.") == [], "an array of tables is nothing that a key leads into"
    assert await offered("set web1 nothing.at.all") == await offered("set web1 nothing=") == []
    assert await offered("new x --set mach") == ["machine."]
    assert "disk." in await offered("explain ")
    assert await offered("explain disk.cac") == ["disk.cache"]
    assert (await asyncio.to_thread(run, "explain", "disk.")).code == 0


async def test_bundles_profiles_alerts_and_what_the_shell_knows(bench: Bench, tmp_path: Path) -> None:
    bench.guests.crashes = Shelf(tmp_path / "crashes", Crashes())
    written = await bench.guests.crashes.write(crash("web1"))
    assert written is not None
    assert await offered("crash show ") == ["latest", written.id]
    assert await offered("crash ") == ["show", "export"]
    assert await offered("new x --from ") == ["linux"]
    (tmp_path / "config/qsup.toml").write_text(
        '[[alert]]\nname = "ops"\ncauses = ["guest-panic"]\nmail = ["root"]\n'
    )
    assert await offered("alert test ") == ["ops"]
    assert await offered("check ") == await offered("crash export x -o ") == [FILES]
    assert await offered("check --config ") == [DIRECTORIES]
    assert await offered(f"new x --config {tmp_path}/none --from ") == []
    assert await offered("schema ") == ["guest", "profile", "daemon"]
    assert await offered("qmp web1 query-status ") == []


async def test_names_that_would_garble_the_line_are_left_out(bench: Bench, tmp_path: Path) -> None:
    for name in ("two words", "two\nlines", "a\x1bb"):
        (tmp_path / f"config/profiles/{name}.toml").write_text("")
    assert await offered("new x --from ") == ["linux"]


def test_without_a_daemon_nothing_is_offered_and_nothing_is_said() -> None:
    for words in (("stop", ""), ("crash", "show", "x"), ("console", "web1", "--serial", "")):
        done = run("__complete", "qsup", *words, QSUP_SOCKET="/nonexistent/socket")
        assert (done.code, done.out, done.err) == (0, "", "")
    assert run("__complete").code == run("__complete", "qsup").code == 0


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert done.out == script(shell).read_text()
    assert "__complete" in done.out
