"""The job engine in real processes, to be killed: Postgres, Redis, Celery workers, maintenance, beat, and the API."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, connection, connections

from service.jobs.models import Job, Worker
from service.jobs.states import TERMINAL, State
from service.local_stack import ports, processes, programs
from service.local_stack.postgres import RunningPostgres, start_postgres
from service.local_stack.redis import RunningRedis, start_redis
from tests.service.servers import PLACEHOLDERS

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0  # for a busy machine; nothing waits so long on a free one
POLL_SECONDS = 0.02
MARK = "ALTPROP_STACK"


def wait_until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until it is so, and return it; an AssertionError that says what did not come."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if value := true():
                return value
        except (OperationalError, InterfaceError):
            connection.close()  # the server was killed: the next look makes a new one
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"waited {patience:.0f} s in vain for: {what}")


class Engine:
    """Servers and workers of one module of tests; whatever a test kills, `heal` brings back."""

    def __init__(self, workers: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="altprop-chaos-"))
        self.folder.chmod(0o755)
        self.names = [f"cpu-{number + 1}" for number in range(workers)]
        self.mark = f"{MARK}={self.folder.name}"
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, Path] = {}
        self.api_port: int | None = None  # none until a test asks for the API, which is slow to start

    def __enter__(self) -> "Engine":
        self.postgres: RunningPostgres = start_postgres(self.folder / "postgres")  # durable: it will be killed
        self.redis: RunningRedis = start_redis(self.folder / "redis")
        return self

    def __exit__(self, *_: object) -> None:
        connections.close_all()
        for process in processes.relatives([p.pid for p in self.programs.values()], self.mark):
            processes.send(process, signal.SIGKILL)
        for program in self.programs.values():
            program.wait()
        self.redis.stop()
        self.postgres.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Keeping it whole -------------------------------------------------------------------------

    def heal(self) -> None:
        """Start whatever is not running."""
        if self.postgres.process.poll() is not None:
            self.postgres.stop()
            self.postgres = start_postgres(self.folder / "postgres", port=self.postgres.port)
        if self.redis.process.poll() is not None:
            self.redis.stop()
            self.redis = start_redis(self.folder / "redis", port=self.redis.port)
        for name in ("maintenance", "beat", *self.names, *(["api"] if self.api_port else [])):
            if name not in self.programs or self.programs[name].poll() is not None:
                self.start(name)

    def serve(self) -> str:
        """Address of the API, which listens; from now on it is kept whole like the rest."""
        self.api_port = self.api_port or ports.free_port()
        self.heal()
        wait_until(self._api_listens, "the API")
        return f"http://{ports.LOOPBACK}:{self.api_port}/api/v1/"

    def serve_no_more(self) -> None:
        """A program less to pay for."""
        self.kill("api")
        del self.programs["api"]
        self.api_port = None

    def _api_listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((ports.LOOPBACK, self.api_port), timeout=1):
            return True
        return False

    def start(self, name: str) -> None:
        self.logs[name] = self.folder / f"{name}.log"
        with self.logs[name].open("ab") as log:
            self.programs[name] = subprocess.Popen(
                self._command(name),
                cwd=PROJECT,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        if name == "api":
            assert self.api_port is not None
            return list(programs.api(self.api_port).command)
        command = {
            "maintenance": ["worker", "-Q", "maintenance", "-P", "threads", "-c", "2", "-n", "maintenance@%h"],
            "beat": ["beat", "--scheduler", "celery.beat.Scheduler"],
        }.get(name, ["worker", "-Q", "cpu", "-P", "prefork", "-c", "1", "-n", f"{name}@%h"])
        if command[0] == "worker":
            command += ["--without-gossip", "--without-mingle"]
        return [sys.executable, "-m", "celery", "--quiet", "-A", "service", *command, "--loglevel", "INFO"]

    def environment(self, name: str) -> dict[str, str]:
        return {
            **os.environ,
            **PLACEHOLDERS,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "DJANGO_SETTINGS_MODULE": "service.settings",
            "CELERY_SKIP_CHECKS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "ALTPROP_WORKER_NAME": name,
            "ALTPROP_WORKER_QUEUES": "cpu",
            "ALTPROP_SCRATCH_DIR": str(self.folder / "scratch"),
            MARK: self.folder.name,
        }

    # Looking ----------------------------------------------------------------------------------

    def wait_for_end(self, job: Job, patience: float = PATIENCE) -> Job:
        """Until the job is in a terminal state."""
        wait_until(lambda: Job.objects.filter(pk=job.pk, state__in=TERMINAL).exists(), f"the end of {job.pk}", patience)
        job.refresh_from_db()
        return job

    def wait_for_state(self, job: Job, state: State, patience: float = PATIENCE) -> Job:
        wait_until(lambda: Job.objects.filter(pk=job.pk, state=state).exists(), f"{job.pk} {state}", patience)
        job.refresh_from_db()
        return job

    def wait_for_workers(self) -> None:
        """Until every worker has shown itself."""
        wait_until(
            lambda: len({w.name for w in Worker.objects.filter(pid__in=list(processes.running()))}) == len(self.names),
            "all workers",
        )

    def supervisor_of(self, job: Job) -> int:
        """Number of the process that holds the job."""
        return wait_until(lambda: _pid_of(job), f"a worker that holds {job.pk}")

    def trainer_of(self, job: Job) -> int:
        """Number of the trainer process of the job."""
        supervisor = self.supervisor_of(job)
        return wait_until(lambda: next(iter(children_of(supervisor)), None), "a trainer")

    def worker_of(self, job: Job) -> str:
        """Name of the worker that holds the job."""
        job.refresh_from_db()
        return job.worker_name

    def everything(self) -> set[processes.Process]:
        """All processes that ever came of our programs and still live."""
        return processes.relatives([p.pid for p in self.programs.values()], self.mark)

    def orphans(self) -> set[processes.Process]:
        """Those of them that no living program of ours stands above."""
        heads = [p.pid for p in self.programs.values() if p.poll() is None]
        return self.everything() - processes.family(heads, processes.running())

    def kill(self, name: str) -> None:
        """kill -9 of a program's main process."""
        self.programs[name].kill()
        self.programs[name].wait()

    def stop_postgres(self) -> None:
        """At once, as when the machine loses power; it recovers from its log."""
        self.postgres.process.send_signal(signal.SIGQUIT)
        self.postgres.process.wait()

    def wipe_redis(self) -> None:
        """Killed, with all that it had."""
        self.redis.process.kill()
        self.redis.process.wait()
        shutil.rmtree(self.folder / "redis" / "data")


def children_of(pid: int) -> list[int]:
    return [p.pid for p in processes.running().values() if p.parent == pid]


def _pid_of(job: Job) -> int | None:
    held_by = Job.objects.values_list("worker", flat=True).get(pk=job.pk)
    return Worker.objects.filter(pk=held_by).values_list("pid", flat=True).first()


def kill(pid: int) -> None:
    """kill -9."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """Django's connections in this process go to that server within the block."""
    import environ

    settings = connections.settings["default"]
    before = {key: settings[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    connection.close()
    parsed = environ.Env.db_url_config(url)
    settings.update({key: parsed[key] for key in before})
    try:
        yield
    finally:
        connection.close()
        settings.update(before)
