"""Secrets of a guest are where they have to be, and nowhere else: not in argv, logs, histories or bundles."""

from __future__ import annotations

import os
import signal
import tarfile
from pathlib import Path

from tests.functional.harness import IDLE, Site
from tests.functional.peers import free_port

PASSWORD = "vnc-S3cr"
TYPED = "typed-S3"
HASH = "$6$saltsalt$S3cretS3cretS3cret"
TOKEN = "token-S3cret-0123456789"
SECRETS = (PASSWORD, TYPED, HASH, TOKEN)


def holders(root: Path) -> dict[str, set[str]]:
    """The files below a directory that have secrets in them, by name; archives are looked into."""
    found: dict[str, set[str]] = {}
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        texts = [path.read_bytes()]
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                files = [archive.extractfile(member) for member in archive if member.isfile()]
                texts = [file.read() for file in files if file]
        told = {secret for secret in SECRETS for text in texts if secret.encode() in text}
        if told:
            found.setdefault(path.name, set()).update(told)
            assert path.stat().st_mode & 0o007 == 0, f"{path} can be read by others"
    return found


async def test_secrets_are_nowhere_but_where_they_have_to_be(empty: Site, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for name, secret in (
        ("password", PASSWORD),
        ("hash", HASH),
        ("config", f"#cloud-config\ntoken: {TOKEN}\n"),
    ):
        (given / name).write_text(f"{secret}\n")
        (given / name).chmod(0o600)
    here = empty
    here.guest(
        "web1",
        f'{IDLE}[restart]\npolicy = "never"\n[display]\ntype = "vnc"\nport = {free_port()}\n'
        f'password-file = "{given}/password"\n[cloud-init]\nuser-data = "{given}/config"\n',
    )
    here.guest("web2", f'{IDLE}[cloud-init]\nuser = "root"\npassword-hash-file = "{given}/hash"\n')
    await here.start()
    for name in ("web1", "web2"):
        await here.run("guest-start", name=name)
    said = [await here.cli("qmp", "web1", "set_password", f'{{"protocol": "vnc", "password": "{TYPED}"}}')]
    pids = [(await here.view(name))["pid"] for name in ("web1", "web2")]
    for pid in pids:
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{file}").read_bytes()
            assert not [secret for secret in SECRETS if secret.encode() in text]
    os.kill(pids[0], signal.SIGKILL)
    await here.said("what is known of it is kept")
    said += [
        await here.cli(*words)
        for words in (
            ("argv", "web1"),
            ("argv", "--why", "web2"),
            ("status", "web1", "web2"),
            ("status", "--json", "web1", "web2"),
            ("why", "web1"),
            ("events", "--json"),
            ("history", "web1"),
            ("crash", "show", "web1"),
            ("crash", "export", "web1", "-o", str(here.root / "bundle.tar.gz")),
        )
    ]
    assert not [secret for secret in SECRETS if secret in here.log]
    for _, out, errors in said:
        assert not [secret for secret in SECRETS if secret in out + errors]
    assert (here.root / "bundle.tar.gz").exists(), said[-1]
    found = {
        name: told for name, told in holders(here.root).items() if name not in ("password", "hash", "config")
    }
    assert found == {"display-password": {PASSWORD}, "cloud-init.iso": {TOKEN, HASH}}
