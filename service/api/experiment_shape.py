"""What an experiment looks like, for the OpenAPI document; service.experiments.presentation makes it."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from service.jobs.states import State


class ExperimentProgress(BaseModel):
    fraction: float = Field(description="0 to 1; a job that has ended counts as whole")
    jobs: int
    ended: int
    eta_seconds: float | None = Field(description="null while no job has told how long it takes")


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
    sentence: str = Field(description="the same for people")
    progress: ExperimentProgress
    counts: dict[State, int] = Field(description="jobs by state; a state without one is left out")
    workloads: list[WorkloadShown]
    request: dict[str, JsonValue] = Field(description="as posted, defaults filled in; posted again, it repeats it")
    owner: str
    created_at: str
    finished_at: str | None = Field(description="when its last job ended")
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
    plots: list[str] = Field(description="names of figures: plots/{name}.svg and plots/{name}.png")
    provenance: dict[str, JsonValue]
