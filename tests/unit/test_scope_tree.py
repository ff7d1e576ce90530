"""Guests in cgroups of our own: in a directory that stands for the kernel's, which makes the files of a new cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qsup.errors import ScopeError
from qsup.scope import tree
from qsup.scope.ground import Ground, Way
from qsup.scope.wish import Wish
from qsup.spec.tables.limits import Limits

FILES = ("cgroup.procs", "cgroup.subtree_control", "pids.max", "cpu.weight", "memory.max")


class Kernel:
    """What it does with directories below this one, and what was written to files, in order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.written: list[str] = []
        self.refuses: dict[str, OSError] = {}
        self._fill(root)
        self._mkdir, self._rmdir, self._write = os.mkdir, os.rmdir, tree.write
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)
        monkeypatch.setattr(tree, "write", self.write)

    def _fill(self, directory: Path) -> None:
        for name in FILES:
            (directory / name).touch()

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        self._mkdir(path, mode)
        self._fill(Path(path))

    def rmdir(self, path: str) -> None:
        if not Path(path).exists():
            raise FileNotFoundError(path)
        if (Path(path) / "cgroup.procs").read_text():
            raise OSError(16, "Device or resource busy")
        for file in Path(path).iterdir():
            file.unlink()
        self._rmdir(path)

    def write(self, directory: str, writes: list[tuple[str, str]]) -> None:
        for file, text in writes:
            if text in self.refuses:
                raise self.refuses[text]
            self._write(directory, [(file, text)])
            self.written.append(f"{Path(directory).relative_to(self.root)}/{file}: {text}")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    root = tmp_path / "mine"
    root.mkdir()
    return Kernel(root, monkeypatch)


def wish(limits: Limits) -> Wish:
    return Wish("web1", "", None, limits, {}, 1.0)  # type: ignore[arg-type]


async def test_a_cgroup_is_limited_before_anything_is_in_it(kernel: Kernel) -> None:
    ground = Ground(Way.CGROUP, frozenset({"pids"}), base=str(kernel.root))
    scope = await tree.put(ground, wish(Limits(tasks_max=9)), "qsup-web1", [7, 8])
    assert kernel.written == [
        f"qsupd/cgroup.procs: {os.getpid()}",
        "./cgroup.subtree_control: +pids",
        "qsup-web1/pids.max: 9",
        "qsup-web1/cgroup.procs: 7",
        "qsup-web1/cgroup.procs: 8",
    ]
    assert (scope.way, scope.directory) == (Way.CGROUP, f"{kernel.root}/qsup-web1")


async def test_what_an_earlier_launch_has_left_makes_room_unless_something_is_in_it(kernel: Kernel) -> None:
    ground = Ground(Way.CGROUP, base=str(kernel.root))
    scope = await tree.put(ground, wish(Limits()), "qsup-web1", [])
    await tree.put(ground, wish(Limits()), "qsup-web1", [7])
    with pytest.raises(ScopeError, match="qsup-web1 cannot be made: Device or resource busy"):
        await tree.put(ground, wish(Limits()), "qsup-web1", [])
    (kernel.root / "qsup-web1/cgroup.procs").write_text("")
    await tree.remove(scope)
    assert not (kernel.root / "qsup-web1").exists()
    await tree.remove(scope)


async def test_a_limit_that_the_kernel_does_not_take_leaves_no_cgroup(kernel: Kernel) -> None:
    kernel.refuses["9"] = OSError(22, "pids.max does not take 9: Invalid argument")
    ground = Ground(Way.CGROUP, base=str(kernel.root))
    with pytest.raises(ScopeError, match=r"cannot be made: pids\.max does not take 9: Invalid argument"):
        await tree.put(ground, wish(Limits(tasks_max=9)), "qsup-web1", [7])
    assert not (kernel.root / "qsup-web1").exists()


async def test_limits_change_and_processes_come_later_and_one_that_has_ended_does_not(kernel: Kernel) -> None:
    ground = Ground(Way.CGROUP, base=str(kernel.root))
    scope = await tree.put(ground, wish(Limits(tasks_max=9)), "qsup-web1", [])
    kernel.written.clear()
    await tree.change(scope, Limits(tasks_max=9), Limits(cpu_weight=7), {})
    kernel.refuses["8"] = ProcessLookupError(3, "No such process")
    await tree.add(scope, [8, 9])
    assert kernel.written == [
        "qsup-web1/cpu.weight: 7",
        "qsup-web1/pids.max: max",
        "qsup-web1/cgroup.procs: 9",
    ]
    with pytest.raises(ScopeError, match=r"io\.weight does not take default 7: No such file"):
        await tree.change(scope, Limits(), Limits(io_weight=7), {})
