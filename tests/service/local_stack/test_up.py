"""`manage.py up`, really started: what it gives, what it refuses, and that nothing outlives it."""

import http.cookiejar
import json
import re
import signal
import stat
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service.local_stack import ports, processes
from tests.service.commands import command_of

from .conftest import Up, wait_until

STOP_SECONDS = 10.0
GUARD_SECONDS = 8.0  # five until it kills


def credentials(up: Up) -> dict[str, str]:
    return json.loads((up.folder / "credentials.json").read_text())


def database_url(up: Up) -> str:
    lines = (up.folder / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)["DATABASE_URL"]


def test_the_first_account_can_log_in_to_the_panel(up: Up) -> None:
    account = credentials(up)
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = browser.open(f"{up.url}/admin/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    form = {"username": account["username"], "password": account["password"], "csrfmiddlewaretoken": token[1]}
    answer = browser.open(f"{up.url}/admin/login/?next=/admin/", urllib.parse.urlencode(form).encode())
    assert answer.url == f"{up.url}/admin/"
    assert answer.status == 200


def test_the_way_from_the_root_leads_to_the_panel(up: Up) -> None:
    assert urllib.request.urlopen(f"{up.url}/").url.startswith(f"{up.url}/admin/")


def test_the_events_of_a_job_are_streamed(up: Up) -> None:
    headers = {"Authorization": f"Token {credentials(up)['token']}", "Content-Type": "application/json"}
    body = json.dumps({"algorithm": "backprop", "dataset": "digits", "training": {"epochs": 1}}).encode()
    job = json.load(urllib.request.urlopen(urllib.request.Request(f"{up.url}/api/v1/jobs", body, headers)))
    asked = urllib.request.Request(f"{job['url']}/events", headers=headers | {"Accept": "text/event-stream"})
    with urllib.request.urlopen(asked, timeout=60) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        wait_until(lambda: b'"succeeded"' in stream.readline(), "the event of its end")


def test_static_files_are_served_without_a_collect_step(up: Up) -> None:
    page = urllib.request.urlopen(f"{up.url}/admin/login/").read().decode()
    style = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert style is not None
    assert urllib.request.urlopen(up.url + style[1]).status == 200


@pytest.mark.parametrize("name", ["credentials.json", "environment", "secret_key"])
def test_only_the_owner_can_read_a_secret(up: Up, name: str) -> None:
    assert stat.S_IMODE((up.folder / name).stat().st_mode) == 0o600


def test_the_addresses_are_printed(up: Up) -> None:
    said = "".join(up.said)
    for path in ("/api/v1/", "/api/v1/docs", "/admin/"):
        assert f"{up.url}{path}\n" in said


def test_answered_requests_are_logged_but_do_not_fill_the_terminal(up: Up) -> None:
    request = "request='GET /admin/login/?from=the-log-test'"
    urllib.request.urlopen(f"{up.url}/admin/login/?from=the-log-test").close()
    wait_until(lambda: request in log(up, "api"), "its line in the log file")
    assert request not in "".join([*up.said, *up.unread()])


def test_no_celery_process_has_loaded_torch(up: Up) -> None:
    wait_until(lambda: "ready." in log(up, "cpu-1"), "the worker")
    heads = [up.child(name).pid for name in ("cpu-1", "cpu-2", "maintenance", "beat")]
    members = processes.family(heads, processes.running())
    celery = [p for p in members if b"celery" in command_of(p.pid)]
    assert len(celery) >= len(heads) + 2  # each worker has a pool of one
    for process in celery:
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()


def log(up: Up, name: str) -> str:
    return (up.folder / "logs" / f"{name}.log").read_text()


def test_a_twin_on_the_same_folder_is_refused(up: Up) -> None:
    twin = Up(up.folder, ports.free_port())
    _, sentence = twin.process.communicate(timeout=30)
    assert twin.process.returncode == 2
    assert sentence == f"Altprop is already running on the folder {up.folder}.\n"


def test_a_port_in_use_is_refused(up: Up, folder: Path) -> None:
    other = Up(folder / "data", up.port)
    _, sentence = other.process.communicate(timeout=30)
    assert other.process.returncode == 2
    assert sentence == f"Port {up.port} is in use by another program: choose another one with --port.\n"


def test_a_device_that_is_not_there_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = Up(folder / "data", ports.free_port(), "--device", "cuda")
    _, sentence = run.process.communicate(timeout=30)
    assert run.process.returncode == 2
    assert "no CUDA device" in sentence


@pytest.mark.parametrize("name", ["api", "cpu-2", "maintenance", "beat", "redis", "postgres"])
def test_a_killed_child_is_started_again(up: Up, name: str) -> None:
    before = up.child(name)
    started = processes.family([before.pid], processes.running())
    processes.send(before, signal.SIGKILL)
    up.wait_for(f"{name} was killed by SIGKILL; it is started again in")
    up.wait_for(f"{name} was started again.")
    assert up.child(name) != before
    wait_until(lambda: not processes.alive(started), f"the end of what the killed {name} had started")


def test_a_killed_guard_is_replaced(up: Up) -> None:
    def guards() -> set[processes.Process]:
        return {p for p in up.all_processes() if b"service.local_stack.guard" in command_of(p.pid)}

    (before,) = guards()
    processes.send(before, signal.SIGKILL)
    wait_until(lambda: guards() and before not in guards(), "another guard")


def test_sigterm_stops_everything_in_time(start_up: Callable[..., Up]) -> None:
    run = start_up()
    run.wait_for("Ready")
    asked = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(STOP_SECONDS) == 0
    assert time.monotonic() - asked < STOP_SECONDS
    assert not run.all_processes()


def test_sigterm_while_starting_leaves_nothing(start_up: Callable[..., Up]) -> None:
    run = start_up()
    wait_until(lambda: (run.folder / "logs" / "prepare.log").exists(), "the start of the preparation")
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(STOP_SECONDS) == 0
    assert not run.all_processes()


def test_kill_9_leaves_no_process(start_up: Callable[..., Up]) -> None:
    run = start_up()
    run.wait_for("Ready")
    run.process.kill()
    run.process.wait()
    wait_until(lambda: not run.all_processes(), "the end of every process", GUARD_SECONDS)


def test_a_start_right_after_kill_9_finds_the_same_data(start_up: Callable[..., Up]) -> None:
    run = start_up()
    run.wait_for("Ready")
    first = credentials(run)
    with psycopg.connect(database_url(run)) as connection:
        connection.execute("CREATE TABLE witness AS SELECT 42 AS answer")
    run.process.kill()
    run.process.wait()

    again = start_up("--port", str(run.port))
    again.wait_for("Ready")
    with psycopg.connect(database_url(again)) as connection:
        assert connection.execute("SELECT answer FROM witness").fetchall() == [(42,)]
    assert credentials(again) == first
    assert database_url(again) == database_url(run)
    assert not run.all_processes() - again.all_processes()
