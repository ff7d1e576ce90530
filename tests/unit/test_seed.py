"""The seed of cloud-init: what stands in it, and the file system that holds it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pycdlib
import pytest

from qsup.argv.files import SeedImage
from qsup.argv.seed import seed
from qsup.errors import LaunchError
from qsup.guest import seed as making
from qsup.guest.prepare import prepare
from qsup.spec.base import HostPath
from qsup.spec.tables.cloud_init import CloudInit
from tests.unit.argv_guests import CONTEXT, built
from tests.unit.argv_parsing import devices
from tests.unit.test_spec_load import problems

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl admin"
HASH = "$6$salt$jRSVWLQvMTEmpnmvKcyWJEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE"


def config(**keys: Any) -> Any:
    text = seed("web1", CloudInit(**keys))["user-data"].decode()
    assert text.startswith("#cloud-config\n")
    return json.loads(text.partition("\n")[2])


def meta(guest: str = "web1", **keys: Any) -> Any:
    return json.loads(seed(guest, CloudInit(**keys))["meta-data"])


def read(path: Path) -> dict[str, bytes]:
    """The files of an ISO as Linux sees them (Rock Ridge); the same as others see them (Joliet)."""
    image = pycdlib.PyCdlib()
    image.open(str(path))
    assert image.pvd.volume_identifier.decode().strip() == "cidata"

    def contents(kind: str) -> dict[str, bytes]:
        found = {}
        for place, _, names in image.walk(**{f"{kind}_path": "/"}):
            assert place == "/"
            for name in names:
                out = io.BytesIO()
                image.get_file_from_iso_fp(out, **{f"{kind}_path": f"/{name}"})
                found[name] = out.getvalue()
        return found

    files = contents("rr")
    assert contents("joliet") == files
    image.close()
    return files


async def test_the_seed_can_be_read_back_and_is_private(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("version: 2\n")
    (tmp_path / "hash").write_text(f"{HASH}\n")
    wanted = CloudInit(
        user="admin",
        password_hash_file=HostPath(tmp_path / "hash"),
        network_config=HostPath(tmp_path / "net"),
    )
    path = tmp_path / "seed.iso"
    await prepare([SeedImage(str(path), "web1", wanted)], "/q")
    files = read(path)
    assert files.keys() == {"user-data", "meta-data", "network-config"}
    assert files["network-config"] == b"version: 2\n"
    user = json.loads(files["user-data"].partition(b"\n")[2])["user"]
    assert user == {"name": "admin", "hashed_passwd": HASH, "lock_passwd": False}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {entry.name for entry in tmp_path.iterdir()} == {"net", "hash", "seed.iso"}


def test_others_find_the_label(tmp_path: Path) -> None:
    blkid = shutil.which("blkid", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if blkid is None:
        pytest.skip("blkid is not installed")
    asyncio.run(prepare([SeedImage(str(tmp_path / "seed.iso"), "web1", CloudInit())], "/q"))
    told = subprocess.run(
        [blkid, "-p", "-o", "export", tmp_path / "seed.iso"], capture_output=True, text=True
    )
    assert {"LABEL=cidata", "TYPE=iso9660"} <= set(told.stdout.splitlines())


def test_a_user_keeps_what_the_distribution_gives_the_first_one() -> None:
    assert config(user="admin", ssh_authorized_keys=(KEY,)) == {
        "user": {"name": "admin"},
        "users": ["default"],
        "ssh_authorized_keys": [KEY],
    }


def test_packages_and_commands() -> None:
    run = ('echo "a: b" # c', "true\u2028 \u0085\ufeff")
    assert config(packages=("nginx",), run=run) == {
        "package_update": True,
        "packages": ["nginx"],
        "runcmd": list(run),
    }
    assert seed("web1", CloudInit(run=run))["user-data"].isascii(), "YAML takes these for ends of lines"


def test_an_empty_table_sets_the_host_name_alone() -> None:
    assert config() == {}
    assert meta()["local-hostname"] == "web1"
    assert meta(hostname="www.example.org")["local-hostname"] == "www.example.org"
    assert meta("web_2@a")["local-hostname"] == "web-2-a"


def test_the_instance_is_another_one_when_the_content_is() -> None:
    ids = {
        meta()["instance-id"],
        meta("web2")["instance-id"],
        meta(user="admin")["instance-id"],
        json.loads(seed("web1", CloudInit(), network_config=b"x")["meta-data"])["instance-id"],
    }
    assert len(ids) == 4
    assert meta()["instance-id"] == meta(hostname="other")["instance-id"]
    assert meta(instance_id="i-1", user="admin")["instance-id"] == "i-1"


async def test_user_data_from_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"#!/bin/sh\ntrue\n")
    wanted = CloudInit(user_data=HostPath(tmp_path / "data"))
    await prepare([SeedImage(str(tmp_path / "seed.iso"), "web1", wanted)], "/q")
    assert read(tmp_path / "seed.iso")["user-data"] == b"#!/bin/sh\ntrue\n"


@pytest.mark.parametrize(
    "text", ["secret", "secret password of many words", f"{HASH}\n{HASH}", "", "a:b" * 9]
)
async def test_what_is_no_hash_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    (tmp_path / "hash").write_text(text)
    wanted = CloudInit(user="a", password_hash_file=HostPath(tmp_path / "hash"))
    with pytest.raises(LaunchError) as caught:
        await prepare([SeedImage(str(tmp_path / "seed.iso"), "web1", wanted)], "/q")
    end = f"{tmp_path}/hash does not hold the hash of a password alone; `mkpasswd` prints one"
    assert str(caught.value).endswith(end)
    assert not (tmp_path / "seed.iso").exists()


@pytest.mark.parametrize(
    ("key", "told"), [("user_data", "has more than 4 bytes"), ("network_config", "is no regular")]
)
async def test_a_file_that_cannot_be_taken_is_told(
    key: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "LIMIT", 4)
    (tmp_path / "user_data").write_text("12345")
    os.mkfifo(tmp_path / "network_config")
    wanted = msgspec.structs.replace(CloudInit(), **{key: HostPath(tmp_path / key)})
    with pytest.raises(LaunchError, match=rf"^cloud-init: .*/{key} {told}"):
        await prepare([SeedImage(str(tmp_path / "seed.iso"), "web1", wanted)], "/q")


def test_no_secret_stands_in_what_is_executed() -> None:
    made = built(cloud_init=CloudInit(user="admin", password_hash_file=HostPath("/secret/hash")))
    assert not any("admin" in word or "secret" in word for word in made.argv)
    assert [file.path for file in made.files] == [f"{CONTEXT.run_dir}/cloud-init.iso"]
    assert devices(made)["cloud-init"]["drive"] == "cloud-init"


BAD = {
    "user = 'Admin'": 'cloud-init.user: "Admin" is not allowed: a user\'s name is',
    "hostname = '-x'": 'cloud-init.hostname: "-x" is not allowed: a host name is',
    "instance-id = ''": "cloud-init.instance-id: ",
    "ssh-authorized-keys = ['AAAA']": 'cloud-init.ssh-authorized-keys[0]: "AAAA" is not allowed: write a public key',
    "packages = ['-y']": 'cloud-init.packages[0]: "-y" is not allowed: a package\'s name',
    "run = ['true']\nuser-data = '/x'": "cloud-init.run: cannot stand beside user-data",
    "password-hash-file = '/x'": "cloud-init.password-hash-file: needs user, whose password it is",
    "bus = 'ide'": 'cloud-init.bus: machine type "q35" has no IDE; write bus = "sata"',
}


@pytest.mark.parametrize("text", BAD)
def test_what_a_seed_cannot_hold_is_told(text: str, tmp_path: Path) -> None:
    found = problems(tmp_path, f"[cloud-init]\n{text}\n")
    assert any(BAD[text] in problem for problem in found), found
