"""What the packages are made of agrees with the rest, and ``qsupd --install`` puts everything where systemd looks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qsup import __version__, install
from qsup.errors import QsupError, UsageError

ROOT: Final = Path(__file__).parents[2]
VENDOR: Final = (ROOT / "scripts/vendor").read_text(encoding="utf-8")
CONTROL: Final = (ROOT / "debian/control").read_text(encoding="utf-8")


def test_the_debian_package_carries_what_qsup_depends_on() -> None:
    lock = (ROOT / "debian/vendored.txt").read_text(encoding="utf-8")
    locked: dict[str, str] = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        version = locked.get(canonicalize_name(requirement.name), "0")
        assert version in requirement.specifier, f"{requirement}: run scripts/vendor lock"


def test_the_debian_package_has_our_version_and_the_pythons_that_it_has_libraries_for() -> None:
    assert (ROOT / "debian/changelog").read_text().startswith(f"qsup ({__version__}) ")
    first, *_, last = re.findall(r'"(3\.\d+)"', re.search(r"^VERSIONS.*$", VENDOR, re.MULTILINE)[0])  # type: ignore[index]
    above = f"3.{int(last.partition('.')[2]) + 1}"
    assert f"python3 (>= {first}), python3 (<< {above})" in CONTROL


def test_two_wheels_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    wheels, tree = tmp_path / "wheels", tmp_path / "tree"
    wheels.mkdir()
    for version, text in (("cp311", "same"), ("cp313", "same"), ("cp314", "other")):
        with zipfile.ZipFile(wheels / f"thing-1-{version}-{version}-any.whl", "w") as wheel:
            wheel.writestr("thing/__init__.py", text)
            wheel.writestr(f"thing/core.{version}.so", version)
            wheel.writestr("thing-1.dist-info/WHEEL", version)
            wheel.writestr("thing-1.data/scripts/thing", "")
    unpack = (sys.executable, str(ROOT / "scripts/vendor"), "unpack", str(wheels), str(tree))
    done = subprocess.run(unpack, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "thing-1-cp314-cp314-any.whl has another thing/__init__.py" in done.stderr
    (wheels / "thing-1-cp314-cp314-any.whl").unlink()
    assert subprocess.run(unpack, check=False).returncode == 0
    assert {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()} == {
        "thing/__init__.py",
        "thing/core.cp311.so",
        "thing/core.cp313.so",
    }


class Host:
    """A pretended host: a prefix, a configuration, and programs of systemd's that write down what they are told."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.prefix, self.config = directory / "lib", directory / "etc"
        self._calls = directory / "calls"
        binaries = directory / "bin"
        binaries.mkdir()
        for name in {command[0] for command in (*install.MAKE, *install.READ)}:
            stub = binaries / name
            stub.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._calls}\n')
            stub.chmod(0o755)
        patch.setenv("PATH", str(binaries))
        patch.setattr(install, "PREFIX", self.prefix)
        self.programs = directory / "opt"
        self.programs.mkdir()
        for name in install.PROGRAMS:
            (self.programs / name).touch()
        patch.setattr(sys, "argv", [str(self.programs / "qsupd")])
        patch.setattr("os.geteuid", lambda: 0)
        patch.setattr(install, "RUNS", directory)

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_install_writes_what_systemd_reads_with_the_programs_that_are_there(host: Host) -> None:
    assert install.install(host.config) == 0
    unit = (host.prefix / "systemd/system/qsupd.service").read_text()
    assert f"\nExecStart={host.programs}/qsupd\n" in unit
    assert "/usr/bin/qsup" not in unit
    spawner = (host.prefix / "systemd/system/qsup-spawn.service").read_text()
    assert f"\nExecStart={host.programs}/qsup-spawn\n" in spawner
    for name in ("sysusers", "tmpfiles"):
        assert (host.prefix / f"{name}.d/qsup.conf").read_text() == (
            ROOT / f"systemd/qsup.{name}"
        ).read_text()
    assert _files(host.prefix) == _files(ROOT / "systemd"), "a file whose ending has no place"
    assert (host.prefix / "systemd/user/qsupd.service").exists()
    assert host.calls() == [
        "systemd-sysusers qsup.conf",
        "systemd-tmpfiles --create qsup.conf",
        "journalctl --update-catalog",
        "systemctl daemon-reload",
    ]


def _files(directory: Path) -> int:
    return sum(path.is_file() for path in directory.rglob("*"))


def test_install_leaves_the_operators_profiles_alone(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    profiles = host.config / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "linux.toml").write_text("# mine\n")
    assert install.install(host.config) == install.install(host.config) == 0
    assert (profiles / "linux.toml").read_text() == "# mine\n"
    assert {path.name for path in profiles.iterdir()} == {
        path.name for path in (ROOT / "configs/profiles").iterdir()
    }
    assert f"left as they are in {profiles}: linux.toml\n" in capsys.readouterr().out


def test_uninstall_takes_away_what_install_wrote_and_nothing_else(host: Host) -> None:
    install.install(host.config)
    told = len(host.calls())
    (host.prefix / "systemd/system/other.service").touch()
    assert install.uninstall() == install.uninstall() == 0
    assert [path.name for path in host.prefix.rglob("*") if path.is_file()] == ["other.service"]
    assert list((host.config / "profiles").iterdir())
    disable, stop, *rest = host.calls()[told:]
    assert re.match(r"systemctl disable .*qsupd\.service", disable)
    assert stop == "systemctl stop qsup-spawn.service qsup-spawn.socket"
    # Nobody is asked to make what is gone; the second time there is nothing to disable either.
    assert rest == ["journalctl --update-catalog", "systemctl daemon-reload"] * 2


def test_install_says_what_failed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(host.prefix).parent / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(QsupError, match="`systemctl daemon-reload` failed"):
        install.install(host.config)
    monkeypatch.setattr(install, "PREFIX", Path("/proc/nonexistent"))
    with pytest.raises(QsupError, match=r"/proc/nonexistent.* cannot be written: No such file"):
        install.install(host.config)
    (host.programs / "qsup-spawn").unlink()
    with pytest.raises(UsageError, match=r"the units need qsup-spawn beside .*/qsupd, and there is no "):
        install.install(host.config)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="only root"):
        install.uninstall()


def test_the_members_of_the_packages_exist() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    wheel = build["targets"]["wheel"]
    for source in (*wheel["force-include"], *wheel["shared-data"]):
        assert (ROOT / source).exists()
