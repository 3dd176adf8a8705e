"""`python -m trainers serve`: a warm process that waits for one job, trains it, and ends.

    stdin    one JSON line {"spec", "resume", "output"}; later {"stop": true} to save and stop; EOF: end at once
    stdout   events (trainers.events), one JSON line each
    stderr   whatever is printed, by us or by a library

It never outlives whoever holds its stdin, knows no database and no credential, and leaves files only in `output`.
"""

import argparse
import ctypes
import errno
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainers.errors import Diverged, SpecError, TrainerError
from trainers.events import Event, Failed, Ready

if TYPE_CHECKING:
    from trainers.loop import StopRequest

PR_SET_PDEATHSIG = 1
ORPHANED = 3  # exit status


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Wait for a job, train it, exit: 0 when its end was told in an event."""
    parser = argparse.ArgumentParser("trainers serve", description="Waits on stdin for one job and trains it.")
    parser.add_argument("--parent", type=int, default=None, help="process id without which this one ends")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with(options.parent)
    events = Events()
    control = Control()
    warm_up()
    events.tell(Ready(pid=os.getpid()))
    train(control.job(), events, control.stop())
    events.end(0)


def die_with(parent: int) -> None:
    """End when `parent` does: on Linux by its death signal, everywhere by EOF on stdin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(ORPHANED)


class Events:
    """The way out for events: the original stdout, on which nothing else may print."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.set_inheritable(self._out, False)
        os.dup2(2, 1)  # a library's print goes where the log goes
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    def tell(self, event: Event) -> None:
        """Write one line; waits while the reader is busy."""
        rest = memoryview(event.to_line().encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except BrokenPipeError:
            os._exit(ORPHANED)

    def end(self, status: int) -> NoReturn:
        """Exit without tearing torch down, which takes longer than some jobs."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Control:
    """What comes in on stdin, read by a thread of its own, and the signals that ask to stop."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stop: StopRequest | None = None
        self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._read, daemon=True).start()

    def job(self) -> dict[str, Any]:
        """The job; waits for it."""
        return self._jobs.get()

    def stop(self) -> "StopRequest":
        """The request that the loop looks at."""
        from trainers.loop import StopRequest

        self._stop = stop = StopRequest()
        stop.requested = self._stopping  # after it is known to whoever asks
        return stop

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stop is None:
            os._exit(0)  # nothing to save yet
        self._ask()

    def _ask(self) -> None:
        self._stopping = True
        if self._stop is not None:
            self._stop.requested = True

    def _read(self) -> None:
        """Bare reads, since a buffered stdin is locked by its reader when the interpreter ends."""
        content = b""
        while block := os.read(0, 1 << 16):
            *lines, content = (content + block).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if message.get("stop"):
                    self._ask()
                else:
                    self._jobs.put(message)
        os._exit(ORPHANED)  # the supervisor is gone: nobody would store what comes


def warm_up() -> None:
    """Load what every job needs, and make one fused-optimizer step: torch's first costs a second or two."""
    import torch

    import trainers.training  # noqa: F401
    from trainers.registry import ALGORITHMS, NETWORKS

    # Before the first operation, so that no thread is started with other settings than a run's own.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for registry in (ALGORITHMS, NETWORKS):
        for name in registry:
            registry[name]
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.zeros(2)
    torch.optim.Adam([weight], fused=True).step()


def train(job: dict[str, Any], events: Events, stop: "StopRequest") -> None:
    """Train it; however it ends, an event says so."""
    from trainers.training import fit

    resume = job.get("resume")
    try:
        fit(
            job["spec"],
            on_event=events.tell,
            resume=Path(resume) if resume else None,
            output=Path(job["output"]),
            stop=stop,
        )
    except Exception as error:
        events.tell(failure(error))


def failure(error: Exception) -> Failed:
    """The event that tells of this error, with what its user needs to cure it."""
    print(traceback.format_exc(), file=sys.stderr, end="")
    if isinstance(error, Diverged):
        where = {"step": error.step, "layer": error.layer, "quantity": error.quantity}
        return Failed(code=error.code, sentence=error.sentence, detail=where)
    if isinstance(error, SpecError):
        return Failed(code=error.code, sentence=error.sentence, detail={"errors": [asdict(e) for e in error.errors]})
    if isinstance(error, TrainerError):
        return Failed(code=error.code, sentence=error.sentence)
    if _is_out_of_memory(error):
        sentence = f"The run does not fit into memory: {_first_line(error)} A smaller batch or network needs less."
        return Failed(code="out_of_memory", sentence=sentence)
    if _is_disk_full(error):
        sentence = "There is no room on the trainer's disk for a checkpoint; the one before it is kept."
        return Failed(code="storage_full", sentence=sentence, detail={"error": str(error)})
    sentence = f"The trainer failed with {type(error).__name__}: {_first_line(error)}"
    return Failed(code="trainer_error", sentence=sentence, detail={"traceback": traceback.format_exc()})


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a type of its own; the CPU's allocator says it in a RuntimeError."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))


def _is_disk_full(error: BaseException) -> bool:
    """No room, or a file past the size allowed; also where a library wraps it in an error of its own."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or any(os.strerror(number) in str(error) for number in full)


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0].strip()
    return line if line.endswith(".") else f"{line}."


if __name__ == "__main__":
    main()
