"""Processes that a spawner starts, and what it tells of them: with a real spawner, whose clients come and go."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsup import rights
from qsup.endpoint import bind
from qsup.errors import LaunchError
from qsup.spawn import here, server, there
from qsup.spawn.child import Child
from qsup.spawn.order import Born, Memory, Order
from qsup.spawn.spawn import SPAWNER
from qsup.spawn.wire import Answer, Request, receive, send
from qsup.spec.base import HostPath
from qsup.status import ExitStatus
from tests.spawner import DEADLINE, spawner

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """The socket of a spawner that runs."""
    place = str(tmp_path / "spawn.sock")
    with spawner(place):
        yield place


def shell(script: str, *fds: int) -> Order:
    return Order(("/bin/sh", "-c", script), ENVIRONMENT, fds)


def ended(born: Born) -> None:
    poll = select.poll()
    poll.register(born.pidfd, select.POLLIN)
    assert poll.poll(DEADLINE * 1000)


def printed(path: str, script: str, *more: int) -> str:
    """What a script prints that the spawner executes, with these fds of ours under their own numbers."""
    reader, writer = os.pipe()
    with open(reader, "rb") as output:
        with open(writer, "wb"), open("/dev/null", "r+b", buffering=0) as null:
            standard = [null.fileno(), writer, null.fileno()]
            born = there.spawn(path, shell(script, 0, 1, 2, *more), [*standard, *more])
        said = output.read().decode()
    ended(born)
    assert there.reap(path, born.pidfd) == ExitStatus("exit", 0)
    os.close(born.pidfd)
    return said


def test_a_child_has_what_its_order_says_and_nothing_else(path: str) -> None:
    """No fd of the spawner's, of an earlier client's, or of ours; a session of its own; no variable of anybody's."""
    # One more is what `ls` looks at.
    assert printed(path, "exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    with open("/dev/null", "rb") as kept:
        fd = os.dup2(kept.fileno(), 77)
    assert sorted(printed(path, "exec ls /proc/self/fd", fd).split()) == ["0", "1", "2", "3", "77"]
    os.close(fd)
    variables = dict(line.split("=", 1) for line in printed(path, "exec env").splitlines())
    assert variables == {**ENVIRONMENT, **{name: variables[name] for name in variables.keys() & {"PWD"}}}
    session, own = printed(path, "ps -o sid= -p $$; echo $$").split()
    assert session == own
    assert printed(path, "umask").strip() == "0077"


def test_hundreds_of_fds_arrive_in_their_order(path: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        files = []
        for number in range(600):
            (tmp_path / f"{number}").write_text(f"{number}\n")
            files.append(stack.enter_context((tmp_path / f"{number}").open("rb")).fileno())
        reader, writer = os.pipe()
        output = stack.enter_context(open(reader, "rb"))
        targets = [1, *range(100, 700)]
        order = shell("for n in 100 349 350 699; do cat <&$n; done", *targets)
        # A shell that takes numbers of two digits and more.
        order = Order(("/bin/bash", *order.argv[1:]), ENVIRONMENT, tuple(targets))
        with open(writer, "wb"):
            born = there.spawn(path, order, [writer, *files])
        assert output.read().split() == [b"0", b"249", b"250", b"599"]
        os.close(born.pidfd)


def test_a_status_waits_until_somebody_asks_and_is_told_once(path: str) -> None:
    born = there.spawn(path, shell("exit 7"), [])
    ended(born)
    assert Path(f"/proc/{born.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    assert there.reap(path, born.pidfd) == ExitStatus("exit", 7)
    assert there.reap(path, born.pidfd) is None
    assert not Path(f"/proc/{born.pid}").exists()
    os.close(born.pidfd)


def test_nothing_is_told_of_one_that_runs_or_that_is_a_strangers(path: str) -> None:
    born = there.spawn(path, shell("exec sleep 60"), [])
    assert there.reap(path, born.pidfd) is None
    signal.pidfd_send_signal(born.pidfd, signal.SIGSEGV)
    ended(born)
    assert there.reap(path, born.pidfd) == ExitStatus("signal", 11)
    os.close(born.pidfd)
    stranger = os.pidfd_open(os.getpid())
    assert there.reap(path, stranger) is None
    os.close(stranger)
    with open("/dev/null", "rb") as none:
        assert there.reap(path, none.fileno()) is None


def test_what_cannot_be_executed_is_said_as_without_a_spawner(path: str) -> None:
    order = Order(("/nonexistent/qemu",), {})
    said = r"^cannot execute /nonexistent/qemu: No such file or directory$"
    with pytest.raises(LaunchError, match=said):
        there.spawn(path, order, [])
    with pytest.raises(LaunchError, match=said):
        here.spawn(order, [])
    with pytest.raises(LaunchError, match=r"^cannot execute /bin/true: embedded null byte$"):
        there.spawn(path, Order(("/bin/true", "\0"), {}), [])
    nowhere = Order(("/bin/true",), {}, memory=Memory("bind", frozenset({1000})))
    with pytest.raises(LaunchError, match="there is no such NUMA node"):
        there.spawn(path, nowhere, [])
    assert printed(path, "echo on").strip() == "on"


def test_where_no_spawner_is_the_message_says_what_to_look_at(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.sock")
    with pytest.raises(
        LaunchError, match=r"none.sock starts nothing: .*No such file.*`systemctl status qsup-spawn`"
    ):
        there.spawn(missing, shell("exit 0"), [])
    pidfd = os.pidfd_open(os.getpid())
    assert there.reap(missing, pidfd) is None
    os.close(pidfd)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "cannot use the request: it makes no sense"),
        (b"{", "cannot use the request: it makes no sense"),
        (b"[" * 100_000, "cannot use the request: it makes no sense"),
        (b'{"version": 2, "order": {"new": 1}}', "it is of another version of qsup"),
        (
            b'{"order": {"argv": ["/bin/true"], "environment": {}, "targets": [1]}}',
            "0 fds were expected to be 1",
        ),
        (b'{"order": {"argv": [], "environment": {}}}', "cannot use the request"),
        (b'{"order": {"argv": ["/bin/true"], "environment": {}, "shell": true}}', "unknown field"),
        (b"{}", "one pidfd was expected"),
        (b" " * (5 << 20), "it is too long"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_next_one_served(
    said: bytes, told: str, path: str
) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(DEADLINE)
        line.connect(path)
        with contextlib.suppress(OSError):
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            answer, fds = receive(line, Answer)
            assert (told in (answer.error or ""), answer.pid, fds) == (True, None, [])
    assert printed(path, "echo on").strip() == "on"


def test_what_nobody_waits_for_any_more_is_killed(tmp_path: Path) -> None:
    """Its client has gone before it could be told: it would run, and nobody would know of it."""
    ours, theirs = socket.socketpair()
    serving = server.Spawner(ours)
    alive, its = os.pipe()
    send(theirs, Request.of(shell("exec sleep 60", 5)), [its])
    os.close(its)
    theirs.close()
    with open(alive, "rb") as end:
        serving.serve(ours)
        assert end.read() == b""
    ours.close()
    gone = os.waitid(os.P_ALL, 0, os.WEXITED)
    assert gone is not None
    assert gone.si_status == signal.SIGKILL


def test_of_those_that_nobody_asks_for_only_so_many_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEPT", 2)
    listener = bind(str(tmp_path / "spawn.sock"))
    serving = server.Spawner(listener)
    born = []
    for script in ("exec sleep 60", "exit 1", "exit 2", "exit 3"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            send(theirs, Request.of(shell(script)))
            serving.serve(ours)
            answer, (pidfd,) = receive(theirs, Answer)
        assert answer.pid is not None
        born.append(Born(answer.pid, pidfd))
        if script.startswith("exit"):
            ended(born[-1])
    listener.close()
    # The first of those that have ended was let go of; the one that lives was not.
    assert [here.reap(one.pidfd) and "known" for one in born] == [None, None, "known", "known"]
    signal.pidfd_send_signal(born[0].pidfd, signal.SIGKILL)
    ended(born[0])
    assert here.reap(born[0].pidfd) == ExitStatus("signal", 9)
    for one in born:
        os.close(one.pidfd)


def test_the_environment_says_whose_children_they_are(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPAWNER, path)
    child, output = Child.printing([HostPath("/bin/sh"), "-c", "echo $PPID"], ENVIRONMENT, {}, errors=False)
    with open(output, "rb") as said:
        assert int(said.read()) != os.getpid()
    assert child.end() == ExitStatus("exit", 0)
    monkeypatch.delenv(SPAWNER)
    child, output = Child.printing(["/bin/sh", "-c", "echo $PPID"], ENVIRONMENT, {}, errors=False)
    with open(output, "rb") as said:
        assert int(said.read()) == os.getpid()
    assert child.end() == ExitStatus("exit", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_nobody_else_is_served(path: str) -> None:
    os.chmod(path, 0o777)
    os.chmod(os.path.dirname(path), 0o755)
    script = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "line = socket.socket(socket.AF_UNIX)\n"
        "line.connect(f'/proc/self/fd/{sys.argv[1]}/spawn.sock')\n"
        "print(line.recv(1))\n"
    )
    directory = os.open(os.path.dirname(path), os.O_PATH)
    asked = subprocess.run(
        [sys.executable, "-c", script, str(directory)], pass_fds=[directory], capture_output=True, check=True
    )
    os.close(directory)
    assert asked.stdout == b"b''\n"


def test_fds_that_are_received_are_not_inherited() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open("/dev/null", "rb") as file:
        socket.send_fds(theirs, [b"x"], [file.fileno()] * 3)
        data, fds, cut = rights.receive(ours, 16, 4)
        assert (data, len(fds), cut) == (b"x", 3, False)
        assert not any(os.get_inheritable(fd) for fd in fds)
        socket.send_fds(theirs, [b"x"], [file.fileno()] * 3)
        more = rights.receive(ours, 16, 1)
        assert more.cut
        for fd in (*fds, *more.fds):
            os.close(fd)


def test_it_listens_where_it_is_told_or_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words, told in (
        ([], "systemd hands over no socket named spawn; --socket PATH opens one"),
        (["--socket", str(tmp_path / "file")], "something lies there that is no socket"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "qsup.spawn.server", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode in (1, 2)
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_client_that_has_gone_wanted_to_know_nobody_asks_for(path: str) -> None:
    """But for the status of a QEMU, for which the next daemon asks."""
    script = (
        "import sys\n"
        "from qsup.pidfd import has_ended\n"
        "from qsup.spawn import there\n"
        "from qsup.spawn.order import Order\n"
        "for kept in (False, True):\n"
        "    born = there.spawn(sys.argv[1], Order.of(['/bin/true'], {}, {}, kept=kept), [])\n"
        "    assert has_ended(born.pidfd, 10)\n"
        "    print(born.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    passing, kept = (Path(f"/proc/{pid}") for pid in done.stdout.split())
    assert printed(path, "echo on").strip() == "on"
    assert (passing.exists(), kept.exists()) == (False, True)
