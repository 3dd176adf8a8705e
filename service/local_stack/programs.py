"""The service's own programs, as commands: API, workers, maintenance worker, beat."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.local_stack import ports

PROJECT = Path(__file__).resolve().parents[2]
GRACEFUL_API_SECONDS = 3


@dataclass(frozen=True)
class Program:
    """One process to keep running.

    `ended_with` is what the guard uses, who gives it five seconds; lines that hold `chatter` do not reach the terminal.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ended_with: signal.Signals = signal.SIGTERM
    chatter: str | None = None


def django_command(*words: str) -> list[str]:
    """A command of manage.py."""
    return [sys.executable, str(PROJECT / "manage.py"), *words]


def api(port: int) -> Program:
    options = ["--host", ports.LOOPBACK, "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    options += ["--no-access-log", "--log-level", "warning"]  # Django logs each request
    options += ["--timeout-graceful-shutdown", str(GRACEFUL_API_SECONDS)]
    command = [sys.executable, "-m", "uvicorn", "service.asgi:application", *options]
    return Program("api", command, chatter="[info] request_finished")


def workers(count: int, gpus: Sequence[str]) -> list[Program]:
    """The training workers, one job each; several share a GPU if there are more of them."""
    return [_worker(number, count, gpus[number % len(gpus)] if gpus else None) for number in range(count)]


def _worker(number: int, count: int, gpu: str | None) -> Program:
    queue = "gpu" if gpu else "cpu"
    name = f"{queue}-{number + 1}"
    environment = {
        "ALTPROP_WORKER_NAME": name,
        "ALTPROP_WORKER_QUEUES": queue,
        "ALTPROP_WORKERS_ON_MACHINE": str(count),
        "CUDA_VISIBLE_DEVICES": gpu or "",  # before any Python starts, since torch reads it once
    }
    return _celery(name, ["worker", "-Q", queue, "-P", "prefork", "-c", "1", *_WORKER_OPTIONS], environment)


def maintenance() -> Program:
    return _celery("maintenance", ["worker", "-Q", "maintenance", "-P", "threads", "-c", "2", *_WORKER_OPTIONS])


def beat() -> Program:
    # The schedule is static, so its state needs no file.
    return _celery("beat", ["beat", "--scheduler", "celery.beat.Scheduler"])


_WORKER_OPTIONS = ("--without-gossip", "--without-mingle")


def _celery(name: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
    node = ["-n", f"{name}@%h"] if words[0] == "worker" else []
    return Program(
        name,
        [sys.executable, "-m", "celery", "--quiet", "-A", "service", *words, *node, "--loglevel", "INFO"],
        # Django's checks would import the URLconf, and with it the registry of algorithms.
        {"CELERY_SKIP_CHECKS": "1", "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
        ended_with=signal.SIGQUIT,
    )


def python_environment() -> dict[str, str]:
    """What lets our programs be found from any folder, and speak at once."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "DJANGO_SETTINGS_MODULE": "service.settings"}
