"""Starts the processes of a layer-parallel run, is the first of them, and ends all when one is lost."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trainers import checkpoint as checkpoints
from trainers.assembly import Parts, assemble
from trainers.device import resolve_threads
from trainers.divergence import locate
from trainers.errors import SpecError, TrainerError
from trainers.layer_parallel.group import LayerGroup
from trainers.layer_parallel.run import LayerParallelRun
from trainers.loop import OnEvent, Outcome, StopRequest
from trainers.losses import NonFiniteLoss
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec
from trainers.training import refuse_other_spec


class ProcessLost(TrainerError):
    """A process that owns some of the layers ended before the run did."""

    code = "trainer_error"


def fit_layer_parallel(
    spec: TrainingSpec | dict[str, Any],
    *,
    processes: int,
    on_event: OnEvent = lambda event: None,
    resume: Path | str | None = None,
    output: Path | str | None = None,
    stop: StopRequest | None = None,
    data_dir: Path | None = None,
) -> Outcome:
    """As `fit`, the network's modules in `processes` processes of `training.threads` threads each (null: an equal share
    of the cores); the weights come out the same, bit for bit. CPU only.

    Raises SpecError for an algorithm or network that cannot be shared out, ProcessLost when a process ends early, and
    whatever `fit` raises.
    """
    saved = checkpoints.load(resume).header["spec"] if resume is not None else None
    if saved is not None:
        refuse_other_spec(spec, saved)
    whole = resolve_parts(saved if saved is not None else spec).spec
    threads = whole.training.threads or max(1, resolve_threads(None) // processes)
    training = whole.training.model_copy(update={"threads": threads, "device": "cpu"})
    whole = whole.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory(prefix="altprop-layers-") as folder:
        plan = {
            "spec": whole.model_dump(mode="json"),
            "processes": processes,
            "rendezvous": str(Path(folder) / "rendezvous"),
            "resume": None if resume is None else str(resume),
            "saves": output is not None,
            "data_dir": None if data_dir is None else str(data_dir),
        }
        parts = _shareable(whole, processes, data_dir)
        others = [start_process(rank, plan) for rank in range(1, processes)]
        try:
            return run_rank(
                0, plan, parts, on_event=on_event, output=Path(output) if output is not None else None, stop=stop
            )
        except NonFiniteLoss as found:
            raise locate(parts.spec, found, data_dir) from None
        except RuntimeError as error:
            lost = _obituary(others)
            if lost is None:
                raise  # an error of this process's own
            raise ProcessLost(lost) from error
        finally:
            for process in others:
                end_process(process)


def _shareable(spec: TrainingSpec, processes: int, data_dir: Path | None) -> Parts:
    """The assembled parts. Raises SpecError where the algorithm has no layers to share, or too few."""
    parts = assemble(resolve_parts(spec), data_dir=data_dir)
    modules = len(getattr(parts.algorithm, "modules", ()))
    if not hasattr(parts.algorithm, "layer_parallel") or not modules:
        raise SpecError(
            "#/algorithm",
            f"{spec.algorithm} does not run the layers of this network in processes of their own. Use "
            "synthetic_gradients with an mlp or a convnet.",
            got=spec.algorithm,
            allowed=["synthetic_gradients"],
        )
    if not 1 <= processes <= modules:
        raise SpecError(
            "#/processes",
            f"processes must be between 1 and {modules}, the modules of this network; got {processes}.",
            got=processes,
        )
    return parts


def run_rank(
    rank: int, plan: dict[str, Any], parts: Parts, *, on_event: OnEvent, output: Path | None, stop: StopRequest | None
) -> Outcome:
    """One process's whole run."""
    group = LayerGroup(rank, plan["processes"], Path(plan["rendezvous"]))
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


def start_process(rank: int, plan: dict[str, Any]) -> subprocess.Popen[str]:
    """It ends by itself when its stdin closes, so none outlives this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.layer_parallel"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if process.stdin is None:
        raise AssertionError("a pipe was asked for")
    process.stdin.write(json.dumps({**plan, "rank": rank}) + "\n")
    process.stdin.flush()
    return process


def end_process(process: subprocess.Popen[str]) -> None:
    """Closing its stdin ends it; what it wrote to stderr is dropped."""
    process.communicate()


def _obituary(others: list[subprocess.Popen[str]]) -> str | None:
    """What is known of a process that has ended with an error; None if all are well."""
    for rank, process in enumerate(others, start=1):
        try:
            status = process.wait(timeout=5)  # a neighbour notices a little before it is gone
        except subprocess.TimeoutExpired:
            continue
        if status:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            why = said[-1] if said else f"exit status {status}"
            return f"Process {rank} of {len(others) + 1}, which owns some of the layers, was lost: {why}"
    return None
