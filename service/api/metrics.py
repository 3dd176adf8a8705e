"""`/jobs/{id}/metrics`: a job's curves, sampled here to at most 1,000 points each, with spikes kept."""

import math
from typing import Any

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.etag import tagged
from service.api.events import LARGEST_ID
from service.api.job_parts import JobPart
from service.api.openapi import answers
from service.api.problem import InvalidParameter, ParameterError
from service.api.query import Query, parameters, parse_query
from service.jobs.metrics import read_points, sampled
from service.jobs.models import MetricSummary
from service.jobs.presentation import present_summary
from trainers.spec import did_you_mean

MOST_POINTS = 1_000


class MetricsQuery(Query):
    name: list[str] = Field(default=[], description="only these curves; may be repeated. Left out: all")
    points: int = Field(default=500, ge=3, le=MOST_POINTS, description="of each curve at most")
    after_step: int = Field(default=-1, ge=-1, le=LARGEST_ID, description="only later points, to follow a running job")


class CurveShown(BaseModel):
    """One curve, column by column; all columns are equally long."""

    name: str
    count: int = Field(description="points there are; `step` may hold fewer, by sampling")
    last: float | None
    best: float | None
    best_step: int | None
    min: float | None
    max: float | None
    mean: float | None
    step: list[int] = Field(description="updates since the start of the run")
    epoch: list[int] = Field(description="epochs finished")
    passes: list[int] = Field(description="passes over the training data finished")
    samples: list[int] = Field(description="training samples seen")
    seconds: list[float] = Field(description="of training")
    value: list[float | None] = Field(description="null: it was no finite number")


class CurveList(BaseModel):
    """A job's curves, in the order in which they began."""

    results: list[CurveShown]


class MetricsView(JobPart):
    """A job's curves."""

    query = MetricsQuery

    @extend_schema(
        summary="A job's curves",
        parameters=parameters(MetricsQuery),
        responses=answers(CurveList, 404),
    )
    def get(self, request: Request, id: str) -> Response:
        query = parse_query(MetricsQuery, request)
        job = self.job()
        summaries = {summary.name: summary for summary in job.summaries.all()}
        _refuse_unknown(query.name, list(summaries))
        results = [
            {"name": name, **present_summary(summary), **_columns(summary, query)}
            for name, summary in summaries.items()
            if name in query.name or not query.name
        ]
        return tagged(request, {"results": results})


def _columns(summary: MetricSummary, query: MetricsQuery) -> dict[str, list[Any]]:
    points = sampled(read_points(summary.pk, after_step=query.after_step), query.points)
    columns: dict[str, list[Any]] = {name: column.tolist() for name, column in points.items()}
    columns["value"] = [value if math.isfinite(value) else None for value in columns["value"]]
    return columns


def _refuse_unknown(names: list[str], known: list[str]) -> None:
    """A job that has measured nothing yet may still come to have any curve."""
    if unknown := [name for name in names if known and name not in known]:
        raise InvalidParameter.of(
            ParameterError(
                "name",
                f"This job has no curve {name[:80]!r}.{did_you_mean(name[:80], known)} It has: {', '.join(known)}.",
                name,
                tuple(known),
            )
            for name in unknown
        )
