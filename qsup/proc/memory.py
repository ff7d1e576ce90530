"""What the kernel is told of a process's memory: who gives way when there is none left."""

from __future__ import annotations

from qsup.proc.kernel import read


def own_oom_score_adjust() -> int:
    """What every process has that is told nothing else."""
    return int(read("/proc/self/oom_score_adj") or 0)


def adjust_oom_score(pid: int, value: int) -> None:
    """Tell the kernel how readily to end a process when there is no memory left, from -1000 to 1000.

    Whoever calls must know that this pid is still the process's. Raises OSError.
    """
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(value))
