"""Starting processes that cannot outlive their parent, finding those that did, and ending them.

A process is told from a later one with the same number by its start time. What a child started in
its turn (Celery's pool, a trainer) is found by three marks that survive the death of those between:
its parent, its process group, and on Linux a variable in the environment that it inherited.
Needs nothing but the standard library, since the guard must start quickly and stay small.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LAUNCHER = Path(__file__).with_name("launch.py")
PROC = Path("/proc")
POLL_SECONDS = 0.02


class Process(NamedTuple):
    """One process as the system lists it; equal only to itself, even when its number is used again."""

    pid: int
    parent: int
    group: int
    started: str


def spawn(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    account: tuple[int, int] | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, away from the terminal's Ctrl-C.

    On Linux it gets `death_signal` when the *thread* that called this ends: call it from one that lives
    as long as the owner does. `account` is (uid, gid) to run as; `output` takes stdout and stderr (as Popen's
    stdout does), which are ours by default.
    """
    identity = f"{account[0]}:{account[1]}" if account else "-"
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), identity]
    return subprocess.Popen(
        [*launcher, *command],
        env=dict(environment) if environment is not None else None,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
    )


def running() -> dict[int, Process]:
    """All live processes by number; zombies are not alive."""
    return _running_from_proc() if PROC.joinpath("self/stat").exists() else _running_from_ps()


def _running_from_proc() -> dict[int, Process]:
    found = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended while we looked
            # The name stands in parentheses and may hold anything; the fields after it are numbered from 3.
            fields = entry.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()
            state, parent, group, started = fields[0], int(fields[1]), int(fields[2]), fields[19]
            if state not in "ZX":
                found[int(entry.name)] = Process(int(entry.name), parent, group, started)
    return found


def _running_from_ps() -> dict[int, Process]:
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid=,state=,lstart="], capture_output=True, text=True)
    found = {}
    for line in listing.stdout.splitlines():
        pid, parent, group, state, started = line.split(maxsplit=4)
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(pid), int(parent), int(group), started)
    return found


def relatives(heads: Iterable[int], mark: str) -> set[Process]:
    """Those of the processes numbered `heads` that live, and all that any of them ever started and that lives.

    `mark` is how a NAME=value in the environment that they inherited begins. Ourselves excepted.
    """
    listing = running()
    listing.pop(os.getpid(), None)
    return family(heads, listing) | with_environment(mark, listing.values())


def with_environment(mark: str, among: Iterable[Process]) -> set[Process]:
    """Those started with an entry in their environment that begins so (Linux; elsewhere none are found)."""
    wanted = mark.encode()
    found = set()
    for process in among:
        with contextlib.suppress(OSError):
            environment = PROC.joinpath(str(process.pid), "environ").read_bytes()
            if any(entry.startswith(wanted) for entry in environment.split(b"\0")):
                found.add(process)
    return found


def in_folder(folder: Path, among: Iterable[Process]) -> set[Process]:
    """Those whose working directory is this folder (Linux; elsewhere none are found)."""
    found = set()
    for process in among:
        with contextlib.suppress(OSError):
            if PROC.joinpath(str(process.pid), "cwd").readlink() == folder:
                found.add(process)
    return found


def family(heads: Iterable[int], listing: Mapping[int, Process]) -> set[Process]:
    """Descendants of these processes, and members of the groups that they lead, living heads included."""
    numbers = set(heads)
    grown = True
    members: set[Process] = set()
    while grown:
        new = {p for p in listing.values() if p.pid in numbers or p.parent in numbers or p.group in numbers} - members
        members |= new
        numbers |= {process.pid for process in new}
        grown = bool(new)
    return members


def alive(processes: Iterable[Process]) -> set[Process]:
    """Those of them that still run, told from strangers with the same number."""
    listing = running()
    return {p for p in processes if p.pid in listing and listing[p.pid].started == p.started}


def send(process: Process, number: signal.Signals) -> None:
    """Signal a process; one that has ended meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process.pid, number)


def wait_until_gone(processes: Iterable[Process], patience: float) -> set[Process]:
    """Wait until none of them runs, for `patience` seconds at most; returns those that still do."""
    deadline = time.monotonic() + patience
    left = alive(processes)
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = alive(left)
    return left


def end(those: Iterable[Process], number: signal.Signals, patience: float) -> None:
    """Ask them with a signal, and kill those that still run after `patience` seconds."""
    asked = set(those)
    for process in asked:
        send(process, number)
    stubborn = wait_until_gone(asked, patience)
    for process in stubborn:
        send(process, signal.SIGKILL)
    wait_until_gone(stubborn, patience)
