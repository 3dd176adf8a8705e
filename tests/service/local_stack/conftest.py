"""Folders for servers, and a real `manage.py up` to start, watch and kill."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.local_stack import folders, ports, processes
from service.local_stack.postgres import start_postgres
from service.local_stack.processes import Process
from tests.service.commands import command_of

PROJECT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0
SERVERS_OF_OTHERS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The condition's value once it is true; fails the test, naming `what`, if it never is."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience:.0f} s"
        time.sleep(processes.POLL_SECONDS)
    return value


class Up:
    """One run of `manage.py up`."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://{ports.LOOPBACK}:{port}"
        self.tag = f"ALTPROP_TEST_RUN={uuid.uuid4().hex}"
        name, value = self.tag.split("=")
        environment = {key: text for key, text in os.environ.items() if key not in SERVERS_OF_OTHERS}
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(PROJECT / "manage.py"),
                "up",
                "--port",
                str(port),
                "--data-dir",
                str(folder),
                *options,
            ],
            env={**environment, name: value},
            cwd=folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, text: str, patience: float = PATIENCE) -> str:
        """The next line that holds this text."""
        deadline = time.monotonic() + patience
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                pytest.fail(f"{text!r} was not said within {patience:.0f} s, but:\n{''.join(self.said)}")
            self.said.append(line)
            if text in line:
                return line

    def unread(self) -> list[str]:
        """Lines said since; they stay to be waited for."""
        return list(self._lines.queue)

    def all_processes(self) -> set[Process]:
        """Whatever carries this run's tag in its environment, or its folder in its command or working directory."""
        listing = processes.running()
        found = processes.with_environment(self.tag, listing.values())
        for process in listing.values():
            try:
                command = command_of(process.pid)
                place = os.readlink(f"/proc/{process.pid}/cwd")
            except OSError:
                continue
            if os.fsencode(self.folder) in command or place.startswith(str(self.folder)):
                found.add(process)
        return found - {listing[os.getpid()]}

    def child(self, name: str) -> Process:
        """The running child of this name.

        Waited for: while a process is replaced by its program, it has no environment for a moment, thus no name.
        """
        return wait_until(lambda: next(self._children(name), None), f"a child {name}")

    def _children(self, name: str) -> Iterator[Process]:
        for process in self.all_processes():
            with contextlib.suppress(OSError):  # it ended while we looked
                if process.parent == self.process.pid and name == self._name(process):
                    yield process

    def _name(self, process: Process) -> str | None:
        place = Path(f"/proc/{process.pid}/cwd").readlink()
        if place.name == "data":  # a server's; both write their titles over their environment
            return place.parent.name
        for entry in Path(f"/proc/{process.pid}/environ").read_text().split("\0"):
            if entry.startswith("ALTPROP_STACK="):
                return entry.split(".")[1]
        return None

    def finish(self) -> None:
        """Leave nothing behind, however the test went."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for process in self.all_processes():
            processes.send(process, signal.SIGKILL)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that a server's account can reach."""
    with folders.temporary_folder() as path:
        yield path


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A PostgreSQL folder as its first start leaves it, to be copied: making one takes ten times as long."""
    with folders.temporary_folder() as path:
        start_postgres(path / "pg", durable=False).stop()
        yield path / "pg"


@pytest.fixture
def pg(folder: Path, template: Path) -> Path:
    """The folder of a PostgreSQL server that has been started once."""
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    return folder / "pg"


@pytest.fixture
def start_up(folder: Path) -> Iterator[Callable[..., Up]]:
    """Starts `manage.py up` on one folder, as often as wanted."""
    runs: list[Up] = []

    def start(*options: str) -> Up:
        run = Up(folder / "data", ports.free_port(), "--workers", "1", "--device", "cpu", *options)
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.finish()


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """A stack that is up, for tests that leave it up."""
    with folders.temporary_folder() as path:
        run = Up(path / "data", ports.free_port(), "--workers", "2", "--device", "cpu")
        try:
            run.wait_for("Ready")
            yield run
        finally:
            run.finish()
