"""What a trainer process says, one JSON object a line: the second contract, between trainer and supervisor.

Torch-free. Every event carries `event`, its type's name; `parse_event(line)` gives the typed object back.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_serializer


class Event(BaseModel):
    """Base of all events. Non-finite numbers travel as null, since JSON has no NaN."""

    model_config = ConfigDict(extra="forbid")

    def to_line(self) -> str:
        return self.model_dump_json()


class Point(Event):
    """Base of the events that stand at one moment of a run."""

    step: int = Field(description="updates done since the start of the run, over all passes")
    epoch: int = Field(description="epochs finished")
    passes: int = Field(description="passes over the training data finished")
    samples: int = Field(description="training samples seen so far, a pass counting each sample once")
    seconds: float = Field(description="training time so far, evaluation and checkpoints apart, over all attempts")


class Ready(Event):
    """A warm trainer waits for its job."""

    event: Literal["ready"] = "ready"
    pid: int


class Started(Event):
    """The run begins, or goes on from a checkpoint; the spec is complete and repeats the run exactly."""

    event: Literal["started"] = "started"
    spec: dict[str, Any]
    machine: dict[str, Any]
    dataset: dict[str, Any] = Field(description="sha256 and sizes of what is really trained on")
    parameters: int
    steps: int = Field(description="updates in the whole run")
    resumed_at: int = Field(default=0, description="step at which a resumed run goes on; 0 for a new one")


class Progress(Event):
    """Once a second: how far."""

    event: Literal["progress"] = "progress"
    fraction: float
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_seconds: float | None
    samples_per_second: float


class Metrics(Point):
    """Measured values at one step, e.g. train_loss, validation_accuracy, test_accuracy."""

    event: Literal["metrics"] = "metrics"
    values: dict[str, float | None]

    @field_serializer("values")
    def _finite(self, values: dict[str, float | None]) -> dict[str, float | None]:
        return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


class Diagnostics(Point):
    """Health of signals and updates, one row a layer (bottom to top), and what they say in words."""

    event: Literal["diagnostics"] = "diagnostics"
    layers: list[dict[str, Any]]
    verdict: str | None = None


class Finding(Event):
    """A sentence that the user should read, e.g. which units saturated and what to change."""

    event: Literal["finding"] = "finding"
    code: str
    sentence: str
    step: int


class CheckpointSaved(Point):
    """A full training state lies in `path`; the file is whole."""

    event: Literal["checkpoint"] = "checkpoint"
    path: str
    kinds: list[Literal["last", "best", "milestone"]]
    bytes: int
    sha256: str
    metrics: dict[str, float | None]


class Artefact(Event):
    """A file made by the run that people look at: a plot, reconstructions, a table."""

    event: Literal["artefact"] = "artefact"
    name: str
    media_type: str
    path: str
    description: str


class Stopped(Event):
    """The run stopped because it was asked to; its last checkpoint holds all of it."""

    event: Literal["stopped"] = "stopped"
    step: int
    sentence: str


class Succeeded(Event):
    """The run is complete."""

    event: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]


class Failed(Event):
    """The run ended by an error; `code` is one of trainers.errors, `detail` may hold a traceback."""

    event: Literal["failed"] = "failed"
    code: str
    sentence: str
    detail: dict[str, Any] = Field(default_factory=dict)


AnyEvent = Annotated[
    Ready
    | Started
    | Progress
    | Metrics
    | Diagnostics
    | Finding
    | CheckpointSaved
    | Artefact
    | Stopped
    | Succeeded
    | Failed,
    Field(discriminator="event"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(line: str | bytes) -> AnyEvent:
    """The typed event of one line. Raises pydantic.ValidationError for anything else."""
    return _ADAPTER.validate_json(line)
