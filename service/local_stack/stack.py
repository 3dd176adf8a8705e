"""The whole service on one machine: PostgreSQL, Redis, API, workers, maintenance worker and beat.

    with LocalStack(folder, port=8000) as stack:
        httpx.get(stack.url + "/api/v1/health")

    DIR/lock              held while it runs
    DIR/state.json        the servers' ports, used again
    DIR/credentials.json  url, username, password, token of the first account
    DIR/environment       what another Django command needs to work on this stack
    DIR/secret_key, DIR/postgres/, DIR/redis/, DIR/scratch/, DIR/logs/

Children run in sessions of their own, so that Ctrl-C reaches only this process, which stops them in
order; should it be killed instead, the guard (guard.py) ends them. DATABASE_URL and REDIS_URL in the
environment name servers to use in place of our own.
"""

import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.local_stack import devices, folders, ports, postgres, processes, programs, redis
from service.local_stack.children import Child, Start, how_it_ended
from service.local_stack.console import Console, log_file
from service.local_stack.devices import DeviceChoice
from service.local_stack.errors import StackError
from service.local_stack.guard import Guard
from service.local_stack.lines import LineReader
from service.local_stack.programs import Program

MARK = "ALTPROP_STACK"
WATCH_SECONDS = 0.1
READY_PATIENCE = 60.0
GUARD_PATIENCE = 8.0  # a little more than the guard of a killed run takes
# Stopping takes ten seconds at most: workers save, what is left is ended, then the servers go.
STOP_SECONDS = 9.0
SAVE_PATIENCE = 5.5
QUIT_PATIENCE = 0.5
SERVER_PATIENCE = 1.0  # at least


class Interrupted(Exception):
    """Asked to stop while starting."""


class LocalStack:
    """A service that is whole once it is entered, and gone, to the last process, once it is left."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        workers: int | None = None,
        device: DeviceChoice = "auto",
        durable: bool = True,
        write: Callable[[str], object] = print,
    ) -> None:
        """Describe a stack.

        Args:
            folder: where it keeps everything; the next stack on it finds the same data.
            port: of the HTTP API, on 127.0.0.1.
            workers: how many jobs train at once; None: one a GPU, or one a core up to a few.
            device: "auto" takes the GPUs if there are any.
            durable: False lets PostgreSQL skip fsync, for tests.
            write: takes each line for the terminal.

        Raises:
            StackError: a GPU is asked for and there is none.
        """
        self.folder = folder.absolute()
        self.url = f"http://{ports.LOOPBACK}:{port}"
        self.stopping = threading.Event()
        """Set to have `watch` return, and starting given up."""
        self.hurry = threading.Event()
        """Set to stop at once, without letting workers save."""
        self._port = port
        self._durable = durable
        gpus = devices.choose_devices(device)
        self._workers = programs.workers(workers or devices.default_workers(gpus), gpus)
        names = ["maintenance", *(worker.name for worker in self._workers)]
        self._console = Console(write, names)
        self._mark = f"{MARK}={uuid.uuid4().hex}."
        self._environment = {
            **os.environ,
            **programs.python_environment(),
            "ALTPROP_DEFAULT_QUEUE": "gpu" if gpus else "cpu",
            "ALTPROP_SCRATCH_DIR": str(self.folder / "scratch"),
        }
        self._children: list[Child] = []
        self._postgres: postgres.RunningPostgres | None = None
        self._redis: redis.RunningRedis | None = None

    def __enter__(self) -> "LocalStack":
        folders.make_folder(self.folder, 0o755 if os.geteuid() == 0 else 0o700)
        self._lock = folders.FolderLock(self.folder, "Altprop")
        try:
            self._end_previous_run()
            if not ports.is_free(self._port):
                raise StackError(f"Port {self._port} is in use by another program: choose another one with --port.")
            self._logs = folders.make_folder(self.folder / "logs", 0o700)
            self.say = self._console.sink("up", self._logs)
            self._guard = Guard(self._mark, programs.PROJECT)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def watch(self) -> None:
        """Start again whatever dies, until `stopping` is set."""
        while not self.stopping.wait(WATCH_SECONDS):
            self._guard.tend()
            for child in self._children:
                child.tend()

    @property
    def credentials(self) -> dict[str, str]:
        """url, username, password, token of the first account."""
        return folders.read_json(self.folder / "credentials.json")

    # Starting -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._start_servers()
        self._prepare()
        for program in (programs.api(self._port), *self._workers, programs.maintenance(), programs.beat()):
            self._add(program.name, self._launch(program), program.ended_with)
        self._wait_until_answering()

    def _end_previous_run(self) -> None:
        """A run that was killed a moment ago may still be ending: wait for its guard, then see to it ourselves."""
        if mark := self._state().get("mark"):
            left = processes.wait_until_gone(processes.relatives([], mark), GUARD_PATIENCE)
            processes.end(left, signal.SIGKILL, QUIT_PATIENCE)

    def _state(self) -> dict[str, Any]:
        return folders.read_json(self.folder / "state.json")

    def _remember(self, **facts: str | int) -> dict[str, Any]:
        """Add to what the next run on this folder will find."""
        state = self._state() | facts
        folders.write_private(self.folder / "state.json", json.dumps(state, indent=2))
        return state

    def _start_servers(self) -> None:
        state = self._remember(mark=self._mark)
        if os.environ.get("DATABASE_URL"):
            self.say("Using the PostgreSQL server that DATABASE_URL names.")
        else:
            postgres.end_leftovers(self.folder / "postgres" / "data")
            port = ports.free_port(state.get("postgres_port"))
            self._add("postgres", self._launch_postgres(port), signal.SIGINT)
            self._remember(postgres_port=port)
        if os.environ.get("REDIS_URL"):
            self.say("Using the Redis server that REDIS_URL names.")
        else:
            redis.end_leftovers(self.folder / "redis")
            port = ports.free_port(state.get("redis_port"))
            self._add("redis", self._launch_redis(port), signal.SIGTERM)
            self._remember(redis_port=port)

    def _add(self, name: str, launch: Start, ended_with: signal.Signals) -> None:
        if self.stopping.is_set():
            raise Interrupted
        child = Child(name, launch, ended_with, self._mark, self._guard, self.say)
        child.start()
        self._children.append(child)

    def _launch_postgres(self, port: int) -> Start:
        sink = log_file("postgres", self._logs)

        def launch(entry: str) -> subprocess.Popen[bytes]:
            if self._postgres:
                self._postgres.stop()  # dead already; this lets go of its folder
                self._postgres = None
            marked = dict([entry.split("=", 1)])
            folder = self.folder / "postgres"
            self._postgres = postgres.start_postgres(
                folder, port=port, durable=self._durable, sink=sink, environment=marked
            )
            self._environment["DATABASE_URL"] = self._postgres.url
            return self._postgres.process

        return launch

    def _launch_redis(self, port: int) -> Start:
        sink = log_file("redis", self._logs)

        def launch(entry: str) -> subprocess.Popen[bytes]:
            if self._redis:
                self._redis.stop()
                self._redis = None
            marked = dict([entry.split("=", 1)])
            self._redis = redis.start_redis(self.folder / "redis", port=port, sink=sink, environment=marked)
            self._environment["REDIS_URL"] = self._redis.url
            return self._redis.process

        return launch

    def _launch(self, program: Program) -> Start:
        sink = self._console.sink(program.name, self._logs, program.chatter)

        def launch(entry: str) -> subprocess.Popen[bytes]:
            process = processes.spawn(
                program.command,
                death_signal=program.ended_with,
                environment={**self._environment, **program.environment, **dict([entry.split("=", 1)])},
                folder=programs.PROJECT,
                output=subprocess.PIPE,
            )
            assert process.stdout is not None
            LineReader(process.stdout, sink)
            return process

        return launch

    def _prepare(self) -> None:
        """Migrate, make the first account, and write down how to come in."""
        if not self._environment.get("SECRET_KEY"):
            self._environment["SECRET_KEY"] = folders.secret(self.folder / "secret_key")
        kept = {name: self._environment[name] for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")}
        folders.write_private(self.folder / "environment", "".join(f"{name}={value}\n" for name, value in kept.items()))
        command = programs.django_command(
            "prepare_local_stack", "--url", self.url, "--credentials", str(self.folder / "credentials.json")
        )
        self._add("prepare", self._launch(Program("prepare", command)), signal.SIGTERM)
        child = self._children.pop()
        assert child.process is not None
        while child.process.poll() is None:
            if self.stopping.wait(processes.POLL_SECONDS):
                self._children.append(child)  # to be stopped with the others
                raise Interrupted
        if child.process.returncode != 0:
            raise StackError(
                f"The database could not be prepared (it {how_it_ended(child.process.returncode)}): "
                f"{self._logs / 'prepare.log'} says why."
            )
        child.forget()

    def _wait_until_answering(self) -> None:
        """Until the API listens, which it does once it has loaded everything."""
        deadline = time.monotonic() + READY_PATIENCE
        while ports.is_free(self._port):
            if time.monotonic() > deadline:
                log = self._logs / "api.log"
                raise StackError(f"The API did not answer within {READY_PATIENCE:.0f} s: {log} says why.")
            if self.stopping.wait(processes.POLL_SECONDS):
                raise Interrupted
            for child in self._children:
                child.tend()

    # Stopping -----------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stop everything, in order and within ten seconds; what does not go is killed."""
        deadline = time.monotonic() + STOP_SECONDS
        servers = [child for child in self._children if child.name in ("postgres", "redis")]
        others = [child for child in self._children if child not in servers]
        self._ask(others, lambda child: signal.SIGTERM, SAVE_PATIENCE)
        self._ask(others, lambda child: child.ended_with, QUIT_PATIENCE)
        self._kill_others(keeping=servers)
        for server in (self._redis, self._postgres):
            if server:
                server.stop(max(deadline - time.monotonic(), SERVER_PATIENCE))
        for child in self._children:
            child.forget()
        self._children.clear()
        self._guard.close(max(deadline - time.monotonic(), QUIT_PATIENCE))
        self._lock.release()

    def _ask(self, children: list[Child], how: Callable[[Child], signal.Signals], patience: float) -> None:
        """Signal those that run and wait until they have ended; the children only, never their groups."""
        asked = [child for child in children if child.process and child.process.poll() is None]
        for child in asked:
            assert child.process is not None
            child.process.send_signal(how(child))
        deadline = time.monotonic() + patience
        while any(child.process and child.process.poll() is None for child in asked):
            if time.monotonic() > deadline or self.hurry.wait(processes.POLL_SECONDS):
                return

    def _kill_others(self, keeping: list[Child]) -> None:
        """Kill whatever still runs of all that this stack started, its servers apart."""
        kept = {child.process.pid for child in keeping if child.process}
        listing = processes.running()
        spared = processes.family(kept, listing)
        heads = [child.process.pid for child in self._children if child.process and child.process.pid not in kept]
        processes.end(processes.relatives(heads, self._mark) - spared, signal.SIGKILL, QUIT_PATIENCE)
