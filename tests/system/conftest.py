"""One host for all tests of the units; each leaves it without guests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.host import Host, host


@pytest.fixture(scope="session")
def shared_host(tmp_path_factory: pytest.TempPathFactory, qemu_binary: str) -> Iterator[Host]:
    """The host itself."""
    with host("units", tmp_path_factory.mktemp("units")) as made:
        yield made


@pytest.fixture
def units(shared_host: Host) -> Iterator[Host]:
    """The host, whose daemon runs and has no guests."""
    yield shared_host
    shared_host.clear()
