"""`fit()`: trains one spec, from the beginning or from a checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers import checkpoint as checkpoints
from trainers.assembly import Parts, assemble
from trainers.divergence import locate
from trainers.errors import CheckpointError
from trainers.loop import OnEvent, Outcome, Run, StopRequest
from trainers.losses import NonFiniteLoss
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec, parse_spec


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
    are written to; without it none are. Raises SpecError, DatasetUnavailable, CheckpointError, Diverged.
    """
    loaded = checkpoints.load(resume) if resume is not None else None
    resolved = resolve_parts(loaded.header["spec"] if loaded is not None else spec)
    if loaded is not None:
        refuse_other_spec(spec, loaded.header["spec"])
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
        if path not in ("training/device", "training/threads"):
            raise CheckpointError(f"The checkpoint belongs to another spec: its {path} is {have!r}, not {wanted!r}.")


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
