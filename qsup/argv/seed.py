"""What stands in the seed of cloud-init (https://docs.cloud-init.io/, data source NoCloud). Pure.

JSON is written, which is YAML too, so that nothing has to be quoted by rules of YAML's.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qsup.spec.tables.cloud_init import CloudInit

NOT_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON writes as it is and YAML does not take, or takes for the end of a line."""
NOT_HOST: Final = re.compile(r"[^A-Za-z0-9.-]+")


def seed(
    guest: str,
    wanted: CloudInit,
    *,
    password_hash: str | None = None,
    user_data: bytes | None = None,
    network_config: bytes | None = None,
) -> dict[str, bytes]:
    """The seed's files by their names. The last three are what the files hold that the table names."""
    data = (
        user_data if user_data is not None else _document(_config(wanted, password_hash), "#cloud-config\n")
    )
    files = {"user-data": data}
    if network_config is not None:
        files["network-config"] = network_config
    content = hashlib.sha256(json.dumps({name: file.hex() for name, file in files.items()}).encode())
    hostname = wanted.hostname or NOT_HOST.sub("-", guest).strip("-.")
    instance = wanted.instance_id or f"{guest}-{content.hexdigest()[:16]}"
    return {**files, "meta-data": _document({"instance-id": instance, "local-hostname": hostname})}


def _config(wanted: CloudInit, password_hash: str | None) -> dict[str, Any]:
    """The user-data: `user` changes what the distribution's first user is, so that he keeps its shell and groups."""
    config: dict[str, Any] = {}
    if wanted.user is not None:
        password = {} if password_hash is None else {"hashed_passwd": password_hash, "lock_passwd": False}
        config |= {"user": {"name": wanted.user, **password}, "users": ["default"]}
    if wanted.ssh_authorized_keys:
        config["ssh_authorized_keys"] = list(wanted.ssh_authorized_keys)
    if wanted.packages:
        config |= {"package_update": True, "packages": list(wanted.packages)}
    if wanted.run:
        config["runcmd"] = list(wanted.run)
    return config


def _document(content: dict[str, Any], head: str = "") -> bytes:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    return (head + NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n").encode()
