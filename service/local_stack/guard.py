"""Ends everything when `manage.py up` dies without having done so itself, as after kill -9.

A process of its own that reads lines `PID SIGNAL` from a pipe: end that one with this signal, should the
pipe close; signal 0 means that it has ended and is to be forgotten. The pipe closes when its writer is gone,
however it went. Then each is asked with its signal (PostgreSQL SIGINT, Celery SIGQUIT, others SIGTERM) and
killed five seconds later, with whatever it started: a parent-death signal alone leaves Celery's
pool and its trainer alive, since those were started by processes that die in good order.

    python -m service.local_stack.guard MARK      how a NAME=value that all inherit begins
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from service.local_stack import processes
from service.local_stack.processes import Process

ENDING_PATIENCE = 5.0
KILL_PATIENCE = 2.0
FORGET = 0


class Guard:
    """The writer's end of the pipe, in the process that is guarded."""

    def __init__(self, mark: str, folder: Path) -> None:
        """Start the guard. `mark`: how a NAME=value in every child's environment begins; `folder` holds the package."""
        self._command = [sys.executable, "-m", "service.local_stack.guard", mark]
        self._folder = folder
        self._wards: dict[int, signal.Signals] = {}
        self.process = self._started()

    def watch(self, pid: int, number: signal.Signals) -> None:
        """End this process with this signal if we die."""
        self._wards[pid] = number
        self._say(pid, number)

    def forget(self, pid: int) -> None:
        """This process has ended."""
        self._wards.pop(pid, None)
        self._say(pid, FORGET)

    def tend(self) -> None:
        """Start another guard if this one was killed."""
        if self.process.poll() is not None:
            self.process = self._started()
            for pid, number in self._wards.items():
                self._say(pid, number)

    def close(self, patience: float = ENDING_PATIENCE + 2 * KILL_PATIENCE) -> None:
        """Nothing is left to guard: the guard looks once more, and ends; after `patience` seconds, without us."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,  # a line is one write, whole or not at all
            start_new_session=True,
        )

    def _say(self, pid: int, number: int) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `tend` sees that it is gone, and tells the next one all
            self.process.stdin.write(f"{pid} {int(number)}\n".encode())


def read_wards(lines: Iterable[str]) -> dict[Process, signal.Signals]:
    """Whom to end and how, once the pipe has closed."""
    wards: dict[int, tuple[Process, signal.Signals]] = {}
    for line in lines:
        pid, number = (int(word) for word in line.split())
        if number == FORGET:
            wards.pop(pid, None)
        elif process := processes.running().get(pid):
            wards[pid] = (process, signal.Signals(number))
    return dict(wards.values())


def end(wards: dict[Process, signal.Signals], mark: str) -> None:
    """Ask each ward, wait, and kill what is left of them and of all that they started."""
    for process in processes.alive(wards):
        processes.send(process, wards[process])
    heads = {process.pid for process in wards}
    _wait(heads, mark, ENDING_PATIENCE)
    deadline = time.monotonic() + KILL_PATIENCE
    while (left := processes.relatives(heads, mark)) and time.monotonic() < deadline:  # again: they may have forked
        for process in left:
            processes.send(process, signal.SIGKILL)
        time.sleep(processes.POLL_SECONDS)


def _wait(heads: set[int], mark: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while processes.relatives(heads, mark) and time.monotonic() < deadline:
        time.sleep(processes.POLL_SECONDS)


def main() -> None:
    # What stops the one that is guarded must not stop the guard.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(read_wards(sys.stdin), mark=sys.argv[1])


if __name__ == "__main__":
    main()
