"""What an experiment looks like, for the OpenAPI document; service.experiments.presentation makes it."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from service.experiments.models import Phase
from service.jobs.states import State


class ExperimentProgress(BaseModel):
    fraction: float = Field(description="0 to 1; a job that has ended counts as whole")
    jobs: int = Field(description="so far")
    planned: int = Field(description="with those that are certain to follow")
    ended: int
    eta_seconds: float | None = Field(description="null while no job has told how long it takes")
    seconds_trained: float = Field(description="by all jobs: what budget.seconds is held against")


class TunedShown(BaseModel):
    """What the search found for one arm on one workload."""

    arm: str
    dataset: str
    label: str
    trial: int
    score: float = Field(description="validation accuracy, the mean over the trial's seeds")
    hyperparameters: dict[str, JsonValue]
    seconds: float = Field(description="of training for all trials of this arm here")


class TuningShown(BaseModel):
    """The search for hyperparameters and its price."""

    trials: int = Field(description="of each algorithm on each workload")
    seeds: list[int]
    jobs: int
    ended: int
    seconds: float = Field(description="of training so far")
    counted: list[int] | None = Field(description="trials that every algorithm finished; null while it goes on")
    best: list[TunedShown]


class WidthShown(BaseModel):
    arm: str
    workload: str
    pairs: int
    half_width: float | None = Field(description="of the 95 % interval; null with fewer than two pairs")


class LookShown(BaseModel):
    """One look of the adaptive rule at the intervals."""

    at: str
    seeds: int
    half_widths: list[WidthShown]
    narrow: bool = Field(description="whether all were below the half-width asked for")
    added: list[int] = Field(description="seeds that followed; none: it ended there")


class WorkloadShown(BaseModel):
    dataset: str
    label: str = Field(description="the network's short name, as the report's tables show it")
    chance: float = Field(description="the accuracy of guessing")


class ExperimentShown(BaseModel):
    """An experiment: what was asked for, and where its jobs stand."""

    id: str
    url: str
    jobs_url: str = Field(description="its jobs")
    report_url: str
    name: str
    state: Literal["running", "finished", "cancelled"]
    phase: Phase
    reason: Literal["budget"] | None = Field(description="why jobs were left out that had been planned")
    sentence: str = Field(description="the same for people")
    progress: ExperimentProgress
    counts: dict[State, int] = Field(description="jobs by state; a state without one is left out")
    arms: list[str]
    workloads: list[WorkloadShown]
    tuning: TuningShown | None
    looks: list[LookShown]
    request: dict[str, JsonValue] = Field(description="as posted, defaults filled in; posted again, it repeats it")
    parent: str | None = Field(description="the experiment that it repeats, by rerun")
    owner: str
    created_at: str
    finished_at: str | None = Field(description="when its last job ended; null while it is running")
    cancelled_at: str | None


class ExperimentList(BaseModel):
    """A page of experiments."""

    next: str | None = Field(description="address of the next page")
    results: list[ExperimentShown]


class ReportShown(BaseModel):
    """The report: every verdict with its numbers, each explained in docs/explanation/protocol.md."""

    format: str
    name: str
    url: str | None
    tuned: bool = Field(description="whether hyperparameters were searched for, or are the defaults")
    answer: str = Field(description="whether anything dethrones the reference here, and on what that rests")
    why: list[str] = Field(description="a sentence a candidate")
    warnings: list[str]
    dethroned_by: list[str]
    reference: str
    arms: list[dict[str, str]]
    missing_controls: list[str]
    scorecard: dict[str, dict[str, dict[str, JsonValue]]] = Field(description="arm, criterion, cell")
    comparisons: dict[str, list[dict[str, JsonValue]]] = Field(description="by measure")
    across_workloads: list[dict[str, JsonValue]]
    times_to_target: dict[str, list[dict[str, JsonValue]]]
    hyperparameters: list[dict[str, JsonValue]]
    plausibility: list[dict[str, JsonValue]]
    default_hyperparameters: dict[str, JsonValue] | None = Field(
        default=None, description="of a tuned experiment: the same report, with the hyperparameters asked for"
    )
    plots: list[str] = Field(description="names of figures: plots/{name}.svg and plots/{name}.png")
    provenance: dict[str, JsonValue]
