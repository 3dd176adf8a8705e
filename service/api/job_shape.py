"""What a job looks like, for the OpenAPI document; service.jobs.presentation makes it."""

from pydantic import BaseModel, Field, JsonValue

from service.api.estimate import Estimate
from service.jobs.states import Reason, State


class ProgressShown(BaseModel):
    fraction: float = Field(description="0 to 1")
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_seconds: float | None
    samples_per_second: float | None


class MetricShown(BaseModel):
    last: float | None
    best: float | None
    best_step: int | None
    min: float | None
    max: float | None
    mean: float | None
    count: int


class JobShown(BaseModel):
    """A job: the resolved spec, where it stands, and what it has measured."""

    id: str
    url: str
    state: State
    reason: Reason | None = Field(description="why it is in this state; null on the usual way")
    sentence: str = Field(description="the same for people")
    algorithm: str
    dataset: str
    network: dict[str, JsonValue]
    hyperparameters: dict[str, JsonValue]
    dataset_options: dict[str, JsonValue]
    training: dict[str, JsonValue]
    progress: ProgressShown | None
    metrics: dict[str, MetricShown]
    result: dict[str, JsonValue] | None
    failure: dict[str, JsonValue] | None
    attempt: int = Field(description="grows with every claim")
    failures: int = Field(description="lost workers and killed trainers")
    max_failures: int
    worker: str | None = Field(description="who trains it, or did last")
    queue: str
    priority: int
    name: str
    tags: list[str]
    parent: str | None = Field(description="the job that it was made from, by retry or clone")
    experiment: str | None
    start_from_checkpoint: str | None
    max_seconds: float | None
    max_pending_seconds: float | None
    seconds_trained: float
    owner: str
    not_before: str | None
    created_at: str
    queued_at: str
    started_at: str | None
    finished_at: str | None


class JobList(BaseModel):
    """A page of jobs."""

    next: str | None = Field(description="address of the next page")
    results: list[JobShown]


class DryRun(BaseModel):
    """What a job would be. Nothing is queued."""

    spec: dict[str, JsonValue] = Field(description="every default filled in")
    queue: str
    estimate: Estimate
