"""What is posted to make a job: the keys of the training spec and, beside them, the job's own, in one flat object.

The whole object is one pydantic model, made of the trainers' `TrainingSpec` and of `JobOptions` below: unknown keys,
wrong types and their JSON pointers come from it, and so does the schema in the OpenAPI document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from pydantic import BeforeValidator, Field, field_validator

from service.accounts.visibility import visible_to
from service.jobs.models import Checkpoint, Job
from trainers.errors import SpecError
from trainers.spec import Name, StrictModel, TrainingSpec, parse_model

LONGEST_SECONDS = 10 * 365 * 86_400.0
FIRST_YEAR, LAST_YEAR = 2000, 2200


def _time(value: Any) -> Any:
    """A time as JSON holds it: text. Numbers could be seconds or milliseconds, and are refused."""
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be an ISO time with its zone, such as 2026-01-31T12:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError("must say its time zone, such as the Z in 2026-01-31T12:00:00Z")
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return at


def _id(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return UUID(value)
    except ValueError:
        raise ValueError("must be an id, such as 0199c8d2-7a1e-7c40-8f0a-3f5f0c3a9b11") from None


Tag = Annotated[str, Field(min_length=1, max_length=100)]
Time = Annotated[datetime, BeforeValidator(_time)]
Id = Annotated[UUID, BeforeValidator(_id)]


class JobOptions(StrictModel):
    """The job's own keys, none of which changes what is trained."""

    name: str = Field(default="", max_length=200, description="for people")
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="to find it by")
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher ones are claimed first")
    queue: Name | None = Field(default=None, description="cpu, gpu or your own; null: by training.device")
    max_failures: int = Field(default=3, ge=1, le=100, description="lost workers and killed trainers until it fails")
    max_seconds: float | None = Field(
        default=None, gt=0, le=LONGEST_SECONDS, description="of training, over all attempts"
    )
    max_pending_seconds: float | None = Field(
        default=None, gt=0, le=LONGEST_SECONDS, description="in the queue; then it fails"
    )
    not_before: Time | None = Field(default=None, description="ISO time with its zone; it waits until then")
    start_from_checkpoint: Id | None = Field(
        default=None, description="id of a checkpoint whose weights and state it begins with"
    )

    @field_validator("tags")
    @classmethod
    def _each_once(cls, tags: list[str]) -> list[str]:
        if len(set(tags)) < len(tags):
            raise ValueError("each tag must stand there once")
        return tags


class JobRequest(JobOptions, TrainingSpec):
    """A job to be trained. `{"algorithm": "backprop", "dataset": "digits"}` is a whole one."""

    def spec(self) -> TrainingSpec:
        """What is to be trained, as posted."""
        return TrainingSpec(**{name: getattr(self, name) for name in TrainingSpec.model_fields})

    def options(self) -> dict[str, Any]:
        """The job's own keys, as `create_job` takes them; the checkpoint is still an id."""
        return {name: getattr(self, name) for name in JobOptions.model_fields}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request whose every part was found and checked: what `create_job` needs."""

    spec: TrainingSpec
    """Resolved: every default filled in."""
    options: dict[str, Any]


def check(data: Mapping[str, Any], user: Any) -> Wanted:
    """What a body asks for. Raises SpecError that names every wrong field."""
    # The registry, and with it torch, is loaded by the first request, unless it is warm (catalogue.py).
    from trainers.resolve import resolve

    request = parse_model(JobRequest, data)
    if request.dataset == "arrays":
        _refuse_other_folders(request.dataset_options.get("path"))
    spec = resolve(request.spec())
    return Wanted(
        spec, {**request.options(), "start_from_checkpoint": _checkpoint(request.start_from_checkpoint, user)}
    )


def _refuse_other_folders(path: Any) -> None:
    """Raises SpecError for a file outside the folder that the operator opens: a path names a file of the server."""
    opened = settings.ALTPROP_ARRAYS_DIR
    if isinstance(path, str) and (opened is None or not Path(path).resolve().is_relative_to(Path(opened).resolve())):
        where = (
            f"Name a file below {opened}." if opened else "This service opens none: its ALTPROP_ARRAYS_DIR is not set."
        )
        raise SpecError(
            "#/dataset_options/path", f"Arrays are read only from the folder opened for it. {where}", got=path
        )


def changed(job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The request that makes a job like this one, but for `changes`: objects are merged, null takes the default again.

    Options that belong to a part that is exchanged (hyperparameters to the algorithm, and so on) are not taken over.
    """
    base: dict[str, Any] = {**job.spec, "name": job.name, "tags": job.tags, "priority": job.priority}
    base |= {"queue": job.queue, "max_failures": job.max_failures}
    base |= {"max_seconds": job.max_seconds, "max_pending_seconds": job.max_pending_seconds}
    for part, options in (("algorithm", "hyperparameters"), ("dataset", "dataset_options")):
        if changes.get(part, base[part]) != base[part]:
            del base[options]
    network = changes.get("network")
    if isinstance(network, dict) and network.get("kind", base["network"].get("kind")) != base["network"].get("kind"):
        del base["network"]
    if isinstance(training := changes.get("training"), dict) and "device" in training and "queue" not in changes:
        del base["queue"]  # it was that of the other device
    return _merged(base, changes)


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Merge Patch (RFC 7396)."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _checkpoint(id: UUID | None, user: Any) -> Checkpoint | None:
    if id is None:
        return None
    row = Checkpoint.objects.published().filter(visible_to(user, owner="job__owner"), pk=id).first()
    if row is None:
        raise SpecError(
            "#/start_from_checkpoint",
            f"start_from_checkpoint: there is no checkpoint {id} that you may see.",
            got=str(id),
        )
    return row
