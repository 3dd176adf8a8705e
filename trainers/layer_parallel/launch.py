"""Starts the processes of a layer-parallel run, is the first of them, and ends all when one is lost."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import trainers
from trainers import checkpoint as checkpoints
from trainers.assembly import Parts, assemble
from trainers.device import resolve_threads
from trainers.divergence import locate
from trainers.errors import TrainerError
from trainers.layer_parallel.group import LayerGroup
from trainers.layer_parallel.run import LayerParallelRun
from trainers.loop import OnEvent, Outcome, StopRequest
from trainers.losses import NonFiniteLoss
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec

READY = "ready"
"""What a started process says on its stdout when all that is left to do is to meet the others."""


class ProcessLost(TrainerError):
    """A process that owns some of the layers ended before the run did."""

    code = "trainer_error"


def fit_layer_parallel(
    spec: TrainingSpec,
    *,
    on_event: OnEvent = lambda event: None,
    resume: Path | str | None = None,
    output: Path | str | None = None,
    stop: StopRequest | None = None,
    data_dir: Path | None = None,
) -> Outcome:
    """What `fit` does with a resolved spec of several `training.processes`: the same weights, bit for bit, as one
    process of as many threads as each of these gets (`training.threads` in equal shares). CPU only.

    Raises ProcessLost when a process ends early, and whatever `fit` raises.
    """
    processes, threads = spec.training.processes, resolve_threads(spec.training.threads)
    whole = with_training(spec, device="cpu", threads=threads)
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)
    # Within the run's own folder, so that whoever clears that away after a kill finds this too.
    with tempfile.TemporaryDirectory(prefix="layers-", dir=output) as folder:
        plan = {
            "spec": whole.model_dump(mode="json"),
            "processes": processes,
            "threads": max(1, threads // processes),
            "folder": folder,
            "resume": None if resume is None else str(resume),
            "saves": output is not None,
            "data_dir": None if data_dir is None else str(data_dir),
            "parent": os.getpid(),
        }
        others = [Neighbour(rank, plan) for rank in range(1, processes)]  # they start up while this one reads its data
        try:
            parts = assemble_share(plan)
            for other in others:
                other.wait_until_ready()
            return run_rank(
                0, plan, parts, on_event=on_event, output=Path(output) if output is not None else None, stop=stop
            )
        except NonFiniteLoss as found:
            raise locate(with_training(whole, threads=plan["threads"]), found, data_dir) from None
        except RuntimeError as error:
            lost = _obituary(others)
            if lost is None:
                raise  # an error of this process's own
            raise ProcessLost(lost) from error
        finally:
            for other in others:
                other.end()


def with_training(spec: TrainingSpec, **changes: Any) -> TrainingSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def assemble_share(plan: dict[str, Any]) -> Parts:
    """The parts of the whole run, in a process that has its share of the threads; the spec names those of all."""
    spec = TrainingSpec.model_validate(plan["spec"])
    data_dir = None if plan["data_dir"] is None else Path(plan["data_dir"])
    parts = assemble(resolve_parts(with_training(spec, threads=plan["threads"])), data_dir=data_dir)
    parts.spec = with_training(parts.spec, threads=spec.training.threads)
    return parts


def run_rank(
    rank: int, plan: dict[str, Any], parts: Parts, *, on_event: OnEvent, output: Path | None, stop: StopRequest | None
) -> Outcome:
    """One process's whole run."""
    group = LayerGroup(rank, plan["processes"], Path(plan["folder"]) / "rendezvous")
    try:
        part = parts.algorithm.layer_parallel(group)  # type: ignore[attr-defined]
        parts.algorithm = part
        run = LayerParallelRun(parts, group, part, on_event=on_event, output=output, stop=stop, saves=plan["saves"])
        if plan["resume"] is not None:
            run.restore(checkpoints.load(plan["resume"]))
        outcome = run.go()
        part.settle()
        group.flush()
        return outcome
    finally:
        group.close()


class Neighbour:
    """Another process of the run. It ends when its stdin closes, and on Linux with this process by a death signal, so
    none outlives it; what it prints goes to a file, where it can never block it."""

    def __init__(self, rank: int, plan: dict[str, Any]) -> None:
        self.rank, self.processes = rank, plan["processes"]
        self._log = Path(plan["folder"]) / f"process-{rank}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainers.layer_parallel"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": _importable()},
            )
        stdin = _pipe(self.process.stdin)
        stdin.write(json.dumps({**plan, "rank": rank}) + "\n")
        stdin.flush()

    def wait_until_ready(self) -> None:
        """Raises ProcessLost where it ends instead: the others would wait for it in vain."""
        if _pipe(self.process.stdout).readline().strip() != READY:
            self.process.wait()
            raise ProcessLost(self.obituary())

    def lost(self, patience: float) -> bool:
        """It has ended with an error, or does so within so many seconds."""
        try:
            return self.process.wait(patience) != 0
        except subprocess.TimeoutExpired:
            return False

    def obituary(self) -> str:
        said = self._log.read_text(errors="replace").strip().splitlines()
        status = self.process.returncode
        why = f"signal {-status}" if status < 0 else said[-1] if said else f"exit status {status}"
        return f"Process {self.rank + 1} of {self.processes}, which trains some of the layers, was lost: {why}."

    def end(self) -> None:
        """Closing its stdin ends it."""
        self.process.communicate()


def _obituary(others: list[Neighbour]) -> str | None:
    """What is known of a process that has ended with an error; None if all are well."""
    for other in others:
        if other.lost(patience=5):  # a neighbour notices a little before it is gone
            return other.obituary()
    return None


def _importable() -> str:
    """A path by which another Python finds this package, wherever it was found by this one."""
    home = str(Path(trainers.__file__).parents[1])
    return os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])


def _pipe(pipe: IO[str] | None) -> IO[str]:
    """It is there, since it was asked for."""
    if pipe is None:
        raise AssertionError("a pipe was asked for")
    return pipe
