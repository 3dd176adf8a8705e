"""`fit()`: trains one spec, from the beginning or from a checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers import checkpoint as checkpoints
from trainers.assembly import Parts, assemble
from trainers.divergence import locate
from trainers.errors import CheckpointError
from trainers.interventions.of_a_run import InterventionsOfARun
from trainers.loop import OnEvent, Outcome, Run, StopRequest
from trainers.losses import NonFiniteLoss
from trainers.resolve import Resolved, resolve_parts
from trainers.spec import Training, TrainingSpec, parse_spec


def fit(
    spec: TrainingSpec | dict[str, Any],
    *,
    on_event: OnEvent = lambda event: None,
    resume: Path | str | None = None,
    output: Path | str | None = None,
    stop: StopRequest | None = None,
    data_dir: Path | None = None,
) -> Outcome:
    """Train `spec` to its end, or to a stop request.

    resume: a checkpoint of the same spec to go on from, bit for bit. output: the folder that checkpoints and artefacts
    are written to; without it none are. `training.processes` may differ from the checkpoint's.

    Raises SpecError, DatasetUnavailable, CheckpointError, Diverged, ProcessLost.
    """
    loaded = checkpoints.load(resume) if resume is not None else None
    if loaded is not None:
        refuse_other_spec(spec, loaded.header["spec"])
        spec = _saved_spec(loaded.header["spec"], resolve_parts(spec).spec.training)
    resolved = resolve_parts(spec)
    tests = InterventionsOfARun(resolved, on_event)
    if resolved.spec.training.processes > 1:
        from trainers.layer_parallel.launch import fit_layer_parallel

        outcome = fit_layer_parallel(
            resolved.spec, on_event=tests.tell, resume=resume, output=output, stop=stop, data_dir=data_dir
        )
    else:
        outcome = _fit_alone(resolved, tests.tell, loaded, output, stop, data_dir)
    return tests.added_to(outcome)


def _fit_alone(
    resolved: Resolved,
    on_event: OnEvent,
    loaded: checkpoints.Checkpoint | None,
    output: Path | str | None,
    stop: StopRequest | None,
    data_dir: Path | None,
) -> Outcome:
    """In this process."""
    parts = assemble(resolved, data_dir=data_dir)
    run = Run(parts, on_event=on_event, output=Path(output) if output is not None else None, stop=stop)
    if loaded is not None:
        run.restore(loaded)
    try:
        return run.go()
    except NonFiniteLoss as found:
        raise locate(parts.spec, found, data_dir) from None


def refuse_other_spec(spec: TrainingSpec | dict[str, Any], saved: dict[str, Any]) -> None:
    """Raises CheckpointError where `saved` is the spec of another run than `spec` asks for; what `spec` leaves open,
    its seed included, is taken from the checkpoint. Raises SpecError for a spec that is none."""
    asked = resolve_parts(spec).spec.model_dump(mode="json")
    if (spec if isinstance(spec, TrainingSpec) else parse_spec(spec)).training.seed is None:
        asked["training"]["seed"] = saved["training"]["seed"]
    for path, wanted, have in _differences(asked, saved):
        if path not in OPEN:
            raise CheckpointError(f"The checkpoint belongs to another spec: its {path} is {have!r}, not {wanted!r}.")


OPEN = ("training/device", "training/threads", "training/processes", "training/interventions")
"""May differ from a checkpoint's: none changes what is trained, but for the last bits of sums."""


def _saved_spec(saved: dict[str, Any], asked: Training) -> dict[str, Any]:
    """A checkpoint's spec, its layers shared out to as many processes as now asked for, tested if now asked for."""
    now = {"processes": asked.processes, "interventions": asked.interventions}
    return {**saved, "training": {**saved["training"], **now}}


def _differences(asked: dict[str, Any], saved: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, wanted in asked.items():
        have = saved.get(key)
        if isinstance(wanted, dict) and isinstance(have, dict):
            yield from _differences(wanted, have, f"{at}{key}/")
        elif wanted != have:
            yield f"{at}{key}", wanted, have


def load_for_prediction(path: Path | str, *, data_dir: Path | None = None) -> Parts:
    """The parts of a run as its checkpoint left them. Raises CheckpointError, DatasetUnavailable."""
    loaded = checkpoints.load(path)
    parts = assemble(resolve_parts(loaded.header["spec"]), data_dir=data_dir)
    parts.algorithm.load_state_dict(loaded.state["algorithm"])
    return parts
