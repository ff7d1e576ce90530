"""The command lines of helpers, and what the tables that need them can get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup.argv.facts import HostFacts, Program
from qsup.argv.helper import Helper
from qsup.argv.invocation import LaunchContext
from qsup.errors import SpecError
from qsup.probe import programs
from qsup.probe.programs import Programs
from qsup.spec.base import HostPath
from qsup.spec.model import DaemonConfig
from qsup.spec.tables.machine import Machine
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.share import Share, ShareCache
from qsup.spec.tables.tpm import Tpm
from tests.unit.argv_guests import KVM, built, guest
from tests.unit.argv_parsing import values
from tests.unit.test_spec_load import configuration


def having(name: str, path: str, *options: str) -> HostFacts:
    return msgspec.structs.replace(KVM, programs={name: Program(path, frozenset(options))})


IN_C = having("virtiofsd", "/usr/lib/qemu/virtiofsd", "--fd", "--socket-path")
OLD_RUST = having("virtiofsd", "/usr/libexec/virtiofsd", "--fd", "--shared-dir")


def share(path: str = "/srv", **keys: Any) -> dict[str, Share]:
    return {"data": Share(path=HostPath(path), **keys)}


def only(facts: HostFacts = KVM, **keys: Any) -> Helper:
    (helper,) = built(facts, **keys).helpers
    return helper


def test_a_virtiofsd_in_rust_gets_its_path_as_a_word_of_its_own() -> None:
    helper = only(share=share("/srv/a,b", read_only=True, cache=ShareCache.NEVER))
    assert helper.argv[2:] == ("--shared-dir=/srv/a,b", "--sandbox=namespace", "--cache=never", "--readonly")


def test_the_virtiofsd_in_c_has_other_words_for_the_same() -> None:
    helper = only(IN_C, share=share(cache=ShareCache.NEVER))
    words = ("--fd=3", "-o", "source=/srv", "-o", "sandbox=namespace", "-o", "cache=none")
    assert helper.argv == ("/usr/lib/qemu/virtiofsd", *words)


@pytest.mark.parametrize(
    ("facts", "keys", "told"),
    [
        (IN_C, {"path": "/srv/a,b"}, "takes no comma or backslash"),
        (IN_C, {"read_only": True}, "virtiofsd of QEMU 7 cannot do that"),
        (OLD_RUST, {"read_only": True}, "too old for that"),
    ],
)
def test_what_a_virtiofsd_cannot_do_is_refused(facts: HostFacts, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        built(facts, share=share(**keys))


def test_passt_forwards_what_the_nic_says_and_qemu_accepts_on_its_socket() -> None:
    lan = Nic(type=NicType.PASST, forward=("tcp:127.0.0.1:8080:80", "udp::5353:53"), interface="eth1")
    made = built(nic={"lan": lan})
    (helper,) = made.helpers
    assert helper.argv[1:] == (
        "--foreground", "--fd", "3", "--interface", "eth1",
        "--tcp-ports", "127.0.0.1/8080:80", "--udp-ports", "5353:53",
    )  # fmt: skip
    assert helper.replaceable
    (netdev,) = values(made, "-netdev")
    (listener,) = (one for one in made.listeners if one.file == helper.file)
    assert netdev["server"] is True
    assert netdev["addr"] == {"type": "fd", "str": str(listener.fd)}


@pytest.mark.parametrize(("options", "told"), [(("--fd", "--stderr"), True), (("--fd",), False)])
def test_only_a_passt_that_knows_the_option_is_told_to_write_to_stderr(
    options: tuple[str, ...], told: bool
) -> None:
    helper = only(having("passt", "/usr/bin/passt", *options), nic={"lan": Nic(type=NicType.PASST)})
    assert ("--stderr" in helper.argv) == told


def test_the_fds_of_connections_follow_those_of_listeners_without_gaps() -> None:
    made = built(tpm=Tpm(enabled=True), share=share(), nic={"lan": Nic(type=NicType.PASST)})
    fds = [listener.fd for listener in made.listeners]
    fds += [helper.qemu_fd for helper in made.helpers if helper.qemu_fd is not None]
    assert fds == list(range(4, 4 + len(fds)))
    assert [dict(chardev)["fd"] for chardev in values(made, "-chardev")[1:]] == [str(fd) for fd in fds[2:]]


def test_a_tpm_is_refused_where_none_can_be_and_where_its_state_cannot() -> None:
    with pytest.raises(SpecError, match="a microvm does not tell its guest of a TPM"):
        built(machine=Machine(type="microvm"), tpm=Tpm(enabled=True))
    with pytest.raises(SpecError, match="choose another --state-dir"):
        built(context=LaunchContext("0" * 16, "/run", "/var/lib/a,b"), tpm=Tpm(enabled=True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[share.a]\n", "share.a.path: is missing"),
        ('[share.a]\npath = "/"\nsecurity = "none"\n', 'security: belongs to type = "9p", and the type is'),
        ('[share.a]\npath = "/"\ntype = "9p"\ncache = "auto"\n', 'cache: belongs to type = "virtiofs"'),
        ('[share.a]\npath = "/"\ntag = "a b"\n', "a tag is up to 31 letters"),
        ('[share.a]\npath = "/"\n[share.b]\npath = "/"\ntag = "a"\n', 'the tag "a" is that of [share.a]'),
        ('[share.a]\npath = "/"\n[nic.a]\n', 'the id "a" is taken by [nic.a]'),
        ('[share.a]\npath = "/"\n[memory]\nshare = false\n', "memory.share: a vhost-user NIC or a virtiofs"),
        ('[nic.a]\ntype = "passt"\nqueues = 2\n', 'queues: belongs to type = "tap" or "vhost-user"'),
    ],
)
def test_what_does_not_go_together_is_told_at_its_key(text: str, told: str, tmp_path: Path) -> None:
    problems = configuration(tmp_path, {"web1": text}).problems
    assert [told in str(problem) for problem in problems] == [True], problems


def test_a_virtiofsd_is_found_by_its_descriptor_the_administrators_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = {}
    for name in ("own", "usual"):
        binaries[name] = tmp_path / name
        binaries[name].write_text("#!/bin/sh\necho ' --fd=N --shared-dir DIR'\n")
        binaries[name].chmod(0o755)
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    monkeypatch.setattr(programs, "DESCRIPTORS", (str(etc), str(usr)))
    usr.mkdir()
    (usr / "40-gpu.json").write_text('{"type": "gpu", "binary": "/nonexistent"}')
    (usr / "45-torn.json").write_text('{"type": "fs"')
    (usr / "50-fs.json").write_text(f'{{"type": "fs", "binary": "{binaries["usual"]}"}}')
    needs = guest(share=share())
    found = Programs(DaemonConfig()).added(KVM, needs).program("virtiofsd")
    assert found == Program(str(binaries["usual"]), frozenset({"--fd", "--shared-dir"}))
    etc.mkdir()
    (etc / "50-fs.json").write_text(f'{{"type": "fs", "binary": "{binaries["own"]}"}}')
    assert Programs(DaemonConfig()).added(KVM, needs).program("virtiofsd").path == str(binaries["own"])
    named = DaemonConfig(virtiofsd=HostPath("/nonexistent/virtiofsd"))
    assert not Programs(named).added(KVM, needs).program("virtiofsd").found
    assert Programs(named).added(KVM, guest()).programs == {}
