"""The PostgreSQL launcher: data outlives any kill, the server does not outlive its owner."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service.local_stack import folders, ports, postgres, processes
from service.local_stack.errors import StackError
from service.local_stack.postgres import RunningPostgres, start_postgres

from .conftest import PROJECT, wait_until

OWNER = """
import sys, signal
from pathlib import Path
from service.local_stack.postgres import start_postgres
server = start_postgres(Path(sys.argv[1]), durable=False)
print(server.url, flush=True)
signal.pause()
"""


def owned_by_another_process(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server whose owner we can kill, and its URL."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def write(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE witness AS SELECT 42 AS answer")


def read(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT answer FROM witness").fetchone()
    assert row is not None
    return int(row[0])


def kill_server(server: RunningPostgres) -> None:
    server.process.kill()


def kill_backends_parent_and_keep_a_backend(server: RunningPostgres) -> None:
    """As when everything is killed while a backend is stopped: it still holds the shared memory."""
    family = processes.family([server.process.pid], processes.running())
    (backend,) = sorted(p for p in family if p.pid != server.process.pid)[:1]
    processes.send(backend, signal.SIGSTOP)
    server.process.kill()


def stop_in_good_order(server: RunningPostgres) -> None:
    server.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("end", [stop_in_good_order, kill_server, kill_backends_parent_and_keep_a_backend])
def test_the_next_start_finds_what_was_committed(pg: Path, end: Callable[[RunningPostgres], None]) -> None:
    with start_postgres(pg, durable=False) as server:
        write(server.url)
        end(server)
        server.process.wait()
    with start_postgres(pg, port=server.port, durable=False) as again:
        assert again.url == server.url
        assert read(again.url) == 42


def test_a_server_ends_with_its_killed_owner_and_its_data_stay(pg: Path) -> None:
    owner, url = owned_by_another_process(pg)
    write(url)
    owner.kill()
    owner.wait()
    data = (pg / "data").resolve()
    with start_postgres(pg, durable=False) as again:  # at once: the old one may still be stopping
        assert read(again.url) == 42
    wait_until(lambda: not processes.in_folder(data, processes.running().values()), "the end of both servers")


def test_a_lock_file_with_the_number_of_a_stranger_is_no_obstacle(pg: Path) -> None:
    with start_postgres(pg, durable=False) as server:
        write(server.url)
        server.process.kill()
        server.process.wait()
    lock_file = pg / "data" / "postmaster.pid"
    account = folders.server_account(lock_file.parent)
    stranger = subprocess.Popen(
        ["sleep", "60"], user=account.uid if account else None, group=account.gid if account else None
    )
    try:
        lines = lock_file.read_text().splitlines(keepends=True)
        lock_file.write_text(f"{stranger.pid}\n" + "".join(lines[1:]))
        with start_postgres(pg, durable=False) as again:
            assert read(again.url) == 42
    finally:
        stranger.kill()
        stranger.wait()


def test_a_half_made_data_folder_is_made_anew(folder: Path) -> None:
    (folder / "pg" / "data.new" / "base").mkdir(parents=True)
    with start_postgres(folder / "pg", durable=False) as server:
        write(server.url)
        assert read(server.url) == 42


def test_a_second_server_on_the_folder_is_refused(pg: Path) -> None:
    owner, _ = owned_by_another_process(pg)
    try:
        with pytest.raises(StackError, match="already running on the folder"):
            start_postgres(pg, durable=False)
    finally:
        owner.kill()
        owner.wait()


def test_a_port_in_use_is_named(pg: Path) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=f"cannot listen on port {port}"):
            start_postgres(pg, port=port, durable=False)


def test_nobody_comes_in_without_the_password(pg: Path) -> None:
    with (
        start_postgres(pg, durable=False) as server,
        pytest.raises(psycopg.OperationalError, match="password"),
    ):
        psycopg.connect(f"postgresql://altprop@{ports.LOOPBACK}:{server.port}/altprop", passfile=os.devnull)


def test_data_of_another_version_are_refused_with_the_servers_own_words(pg: Path) -> None:
    (pg / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="database files are incompatible with server"):
        start_postgres(pg, durable=False)


def test_the_copied_programs_run_without_the_original(folder: Path) -> None:
    programs = postgres.copied_programs(folder)
    for name in ("postgres", "initdb"):
        shown = subprocess.run([programs / name, "--version"], capture_output=True, text=True)
        assert "(PostgreSQL)" in shown.stdout
    (libpq,) = [
        line
        for line in subprocess.check_output(["ldd", programs / "initdb"], text=True).splitlines()
        if "libpq" in line
    ]
    assert str(folder) in libpq
