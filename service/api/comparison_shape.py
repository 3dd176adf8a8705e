"""What a comparison of jobs looks like, for the OpenAPI document; service.experiments.side_by_side makes it."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from service.jobs.states import State


class ComparedJob(BaseModel):
    id: str
    url: str
    label: str = Field(description="a short name, different from those of the other jobs")
    state: State
    sentence: str
    algorithm: str
    dataset: str
    seed: int
    has_ended: bool
    experiment: str | None


class DifferenceShown(BaseModel):
    """A place in the spec at which the jobs are not all the same."""

    pointer: str = Field(description="RFC 6901, into the spec: /training/batch_size")
    values: dict[str, JsonValue] = Field(description="by job; one whose spec has no such place is left out")


class FigureShown(BaseModel):
    """One number of each job."""

    name: str
    unit: str | None
    better: Literal["higher", "lower"] | None = Field(description="null: neither, or the jobs' data differ")
    values: dict[str, float | None] = Field(description="by job; of a job that goes on, the last one so far")
    best: list[str] = Field(description="jobs with the best value; empty where there is no best one")


class SeriesShown(BaseModel):
    """One job's points of a curve, column by column; all columns are equally long."""

    job: str
    count: int = Field(description="points there are; the columns may hold fewer, by sampling")
    epoch: list[float] = Field(description="epochs, with the fraction at which an evaluation within one fell")
    step: list[int]
    seconds: list[float] = Field(description="of training")
    flops: list[float] | None = Field(description="of training; null until the job has succeeded")
    value: list[float | None] = Field(description="null: it was no finite number")


class ComparedCurve(BaseModel):
    """A curve of all jobs that have it."""

    name: str
    series: list[SeriesShown]


class JobsCompared(BaseModel):
    """Jobs side by side. No verdict: that needs paired seeds, which is what an experiment has."""

    jobs: list[ComparedJob] = Field(description="as asked for, in that order")
    differences: list[DifferenceShown] = Field(description="only what differs between their specs")
    figures: list[FigureShown]
    curves: list[ComparedCurve]
    notes: list[str] = Field(description="what is to be kept in mind: other data, jobs that have not ended or failed")
