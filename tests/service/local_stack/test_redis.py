"""The Redis launcher: what was said stays said, only with the password, and it dies with its owner."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from service.local_stack import ports, processes
from service.local_stack.errors import StackError
from service.local_stack.redis import start_redis

from .conftest import PROJECT, wait_until

OWNER = """
import sys, signal
from pathlib import Path
from service.local_stack.redis import start_redis
server = start_redis(Path(sys.argv[1]))
print(server.url, flush=True)
signal.pause()
"""


def test_the_next_start_finds_what_was_pushed(folder: Path) -> None:
    with start_redis(folder) as server, redis.Redis.from_url(server.url) as client:
        client.rpush("doorbell", "ring")
    with start_redis(folder, port=server.port) as again, redis.Redis.from_url(again.url) as client:
        assert again.url == server.url
        assert client.lrange("doorbell", 0, -1) == [b"ring"]


def test_nothing_is_evicted_and_everything_is_appended(folder: Path) -> None:
    with start_redis(folder) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_nobody_comes_in_without_the_password(folder: Path) -> None:
    with (
        start_redis(folder) as server,
        redis.Redis(port=server.port, retry=None) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_the_password_is_on_no_command_line(folder: Path) -> None:
    with start_redis(folder) as server:
        password = (folder / "password").read_text().encode()
        assert password not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()


def test_a_port_in_use_is_named(folder: Path) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=f"cannot listen on port {port}"):
            start_redis(folder, port=port)


def test_a_server_ends_with_its_killed_owner(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    with redis.Redis.from_url(url) as client:
        assert client.ping()
    with pytest.raises(StackError, match="already running on the folder"):
        start_redis(folder)
    owner.kill()
    owner.wait()
    data = (folder / "data").resolve()
    wait_until(lambda: not processes.in_folder(data, processes.running().values()), "the end of the server")
