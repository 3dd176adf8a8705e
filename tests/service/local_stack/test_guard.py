"""The guard: when its writer is gone, so are those it was told of and all that they started."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.local_stack import guard as guard_module
from service.local_stack import processes
from service.local_stack.guard import Guard

from .conftest import PROJECT, wait_until

# A child that ignores to be asked, and a grandchild of another session, whose parent has ended.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
between = "import subprocess, sys; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid, flush=True)"
subprocess.run([sys.executable, "-c", between], start_new_session=True)
signal.pause()
"""
POLITE = """
import pathlib, signal, sys
def leave(*_):
    pathlib.Path(sys.argv[1]).write_text("asked")
    sys.exit()
signal.signal(signal.SIGQUIT, leave)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def mark() -> str:
    return f"ALTPROP_STACK={uuid.uuid4().hex}."


@pytest.fixture
def guard(mark: str) -> Iterator[Guard]:
    guard = Guard(mark, PROJECT)
    yield guard
    guard.close()


def started(script: str, mark: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A child that carries the mark, and the first line that it says."""
    name, value = mark.split("=")
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, name: f"{value}child.1."},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def test_each_is_ended_with_its_own_signal(guard: Guard, mark: str, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    child, _ = started(POLITE, mark, str(witness))
    guard.watch(child.pid, signal.SIGQUIT)
    guard.close()
    assert child.wait() == 0
    assert witness.read_text() == "asked"


def test_a_stubborn_child_and_its_stray_grandchild_are_killed(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    child, grandchild = started(STUBBORN, mark)
    listing = processes.running()
    wards = {listing[child.pid]: signal.SIGTERM}
    stray = listing[int(grandchild)]
    assert stray.parent != child.pid
    assert stray.group == stray.pid
    monkeypatch.setattr(guard_module, "ENDING_PATIENCE", 0.2)
    guard_module.end(wards, mark)
    assert child.wait() == -signal.SIGKILL
    assert not processes.alive([stray])


def test_those_forgotten_are_left_alone(guard: Guard) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as bystander:
        guard.watch(bystander.pid, signal.SIGTERM)
        guard.forget(bystander.pid)
        guard.close()
        assert bystander.poll() is None
        bystander.kill()


def test_a_guard_that_replaces_a_killed_one_knows_all_wards(guard: Guard, mark: str, tmp_path: Path) -> None:
    child, _ = started(POLITE, mark, str(tmp_path / "witness"))
    guard.watch(child.pid, signal.SIGQUIT)
    guard.process.kill()
    guard.process.wait()
    guard.tend()
    guard.close()
    assert child.wait() == 0


def test_a_guard_with_nothing_to_do_ends_at_once(guard: Guard) -> None:
    began = time.monotonic()
    guard.close()
    assert time.monotonic() - began < guard_module.ENDING_PATIENCE / 2


def test_the_signals_that_stop_its_writer_do_not_stop_it(guard: Guard, mark: str, tmp_path: Path) -> None:
    child, _ = started(POLITE, mark, str(tmp_path / "witness"))
    guard.watch(child.pid, signal.SIGQUIT)
    wait_until(lambda: ignores(guard.process.pid, signal.SIGTERM), "the guard's start")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guard.process.send_signal(number)
    guard.close()
    assert child.wait() == 0


def ignores(pid: int, number: signal.Signals) -> bool:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigIgn"], 16) >> (number - 1) & 1)
