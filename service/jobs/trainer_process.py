"""The trainer process of one job, and the warm one that waits for the next.

Only a main thread starts one: on Linux its life is tied to the thread that started it. It inherits no address of a
database and no credential; what it may know is listed below.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).resolve().parents[2]

_PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy"),
        "ALTPROP_DATA_DIR",
        "ALTPROP_STACK",  # by which `manage.py up` finds what its children started
    }
)
_PASSED_ON_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "CUBLAS_", "TORCH_", "PYTORCH_", "OMP_", "MKL_", "KMP_")


def trainer_environment() -> dict[str, str]:
    """Ours, reduced to what a trainer needs."""
    kept = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return kept | {"PYTHONUNBUFFERED": "1"}


class TrainerProcess:
    """One process, started and warming up; it trains one job."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainers.serve", "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=PROJECT,
            env=trainer_environment(),
            start_new_session=True,  # a group of its own, with all that it may start
        )
        self._stdin = _pipe(self._process.stdin)
        self.events = _pipe(self._process.stdout).fileno()
        self.log = _pipe(self._process.stderr).fileno()
        os.set_blocking(self.events, False)
        os.set_blocking(self.log, False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that killed it."""
        return self._process.poll()

    def train(self, spec: dict[str, Any], *, resume: Path | None, output: Path) -> None:
        """Hand it its job."""
        self._say({"spec": spec, "resume": str(resume) if resume else None, "output": str(output)})

    def ask_to_stop(self) -> None:
        """Have it save at the next batch border, and end."""
        self._say({"stop": True})

    def kill(self) -> None:
        """End it now, with all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, patience: float) -> int | None:
        """Its exit status, or None if it still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience)
        return None

    def close(self) -> None:
        """Kill it if it runs, and let go of its pipes."""
        if self.exit_status is None:
            self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is dead, which its exit status tells better
            self._stdin.write(json.dumps(message).encode() + b"\n")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """It is there, since it was asked for."""
    assert pipe is not None
    return pipe


class Bench:
    """Keeps one trainer warm for the next job."""

    def __init__(self) -> None:
        self._next: TrainerProcess | None = None

    def warm(self) -> None:
        """Start the next one, without waiting, unless it is there."""
        if self._next is not None and self._next.exit_status is not None:
            self._next.close()
            self._next = None
        if self._next is None:
            self._next = TrainerProcess()

    def take(self) -> TrainerProcess:
        """The warm one, now the caller's to close; a fresh one if it has died."""
        self.warm()
        trainer, self._next = self._next, None
        assert trainer is not None
        return trainer

    def close(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None
